"""MockSource: the made-up exports as any other source of exports."""

from __future__ import annotations

import hashlib
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.seeds import examples

from mockexport.errors import NotFoundError
from mockexport.model import Download
from mockexport.sources.mock import MockSource
from mockexport.sources.mock.source import CHUNK_BYTES

DEMO_0 = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"
DEMO_0_BYTES = 391_899
HEADER_BYTES = 39


@pytest.fixture(scope="module")
def source(kernel: str) -> MockSource:
    return MockSource(kernel)


@pytest.fixture(scope="module")
def demo_0(source: MockSource) -> bytes:
    return b"".join(source.open(Download("demo", DEMO_0)))


def test_there_are_three_exports(source: MockSource) -> None:
    assert source.exports() == ["demo", "small", "large"]
    assert source.name == "mock"


@pytest.mark.parametrize("export", ["demo", "small", "large"])
def test_downloads_declare_all_that_is_known_of_them(source: MockSource, golden: Any, export: str) -> None:
    downloads = source.downloads(export)
    for number, expected in golden[export]["downloads"].items():
        assert downloads[int(number)] == Download(
            export=export,
            id=expected["id"],
            rows=expected["rows"],
            event_types=tuple(expected["event_types"]),
            patients=tuple(expected["patients"]),
            start_time=datetime.fromisoformat(expected["start_time"]).replace(tzinfo=UTC),
            end_time=datetime.fromisoformat(expected["end_time"]).replace(tzinfo=UTC),
            etag=f"mock-{expected['id']}",
        )
    assert len({download.etag for download in downloads}) == len(downloads)


def test_a_download_is_streamed_in_chunks_of_whole_rows(source: MockSource, golden: Any) -> None:
    for number, download in enumerate(source.downloads("demo")):
        chunks = list(source.open(download))
        assert all(chunk.endswith(b"\n") for chunk in chunks)
        assert all(len(chunk) < 2 * CHUNK_BYTES for chunk in chunks)
        expected = golden["demo"]["downloads"][str(number)]
        assert hashlib.sha256(b"".join(chunks)).hexdigest() == expected["sha256"]


@pytest.mark.gate
@examples(20, 200)
@given(offset=st.integers(0, DEMO_0_BYTES))
@example(offset=0)
@example(offset=1)
@example(offset=HEADER_BYTES)
@example(offset=CHUNK_BYTES - 100)
@example(offset=CHUNK_BYTES + 100)
@example(offset=DEMO_0_BYTES - 1)
@example(offset=DEMO_0_BYTES)
@example(offset=DEMO_0_BYTES + 1_000_000)
def test_a_download_is_streamed_from_any_byte_on(source: MockSource, demo_0: bytes, offset: int) -> None:
    chunks = list(source.open(Download("demo", DEMO_0), offset))
    assert b"".join(chunks) == demo_0[offset:]
    assert all(chunks)


@pytest.mark.gate
def test_a_download_is_streamed_from_the_borders_of_its_chunks(source: MockSource, demo_0: bytes) -> None:
    border = 0
    for chunk in source.open(Download("demo", DEMO_0)):
        border += len(chunk)
        for offset in (border - 1, border, border + 1):
            assert b"".join(source.open(Download("demo", DEMO_0), offset)) == demo_0[offset:]


def test_streams_are_independent_of_one_another(source: MockSource) -> None:
    first, second = (source.open(download) for download in source.downloads("demo"))
    both = [b"".join(pair) for pair in zip(first, second, strict=True)]
    assert both == [
        b"".join(pair) for pair in zip(*(source.open(download) for download in source.downloads("demo")), strict=True)
    ]


def test_nothing_is_made_before_it_is_asked_for(source: MockSource) -> None:
    stream = source.open(source.downloads("large")[0])
    assert next(stream).startswith(b"patient_id,")
    stream.close()


def test_the_source_may_be_used_after_it_was_closed(source: MockSource) -> None:
    source.close()
    assert next(source.open(Download("demo", DEMO_0))).startswith(b"patient_id,")


def test_the_source_is_small_when_pickled(source: MockSource) -> None:
    pickled = pickle.dumps(source)
    assert len(pickled) < 250
    assert pickle.loads(pickled).downloads("demo") == source.downloads("demo")


@pytest.mark.parametrize(
    ("export", "hint"),
    [("demos", "did you mean 'demo'?"), ("large ", "did you mean 'large'?"), ("x", "it has demo, small, large")],
)
def test_an_unknown_export_is_told_with_what_there_is(source: MockSource, export: str, hint: str) -> None:
    for call in (source.downloads, lambda export: source.open(Download(export, DEMO_0))):
        with pytest.raises(NotFoundError) as caught:
            call(export)
        assert str(caught.value) == f"no export {export!r} in source 'mock'; {hint}"


@pytest.mark.parametrize(
    ("download", "hint"),
    [
        (DEMO_0[:-1] + "7", f"did you mean '{DEMO_0}'?"),
        ("?", f"it has {DEMO_0}, 591ef21e-8a64-413a-b506-37a41cb6b896"),
    ],
)
def test_an_unknown_download_is_told_with_what_there_is(source: MockSource, download: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        source.open(Download("demo", download))
    assert str(caught.value) == f"no download {download!r} in export 'demo'; {hint}"


def test_a_download_of_another_export_is_unknown(source: MockSource) -> None:
    with pytest.raises(NotFoundError, match=r"no download .* in export 'small'"):
        source.open(Download("small", DEMO_0))
