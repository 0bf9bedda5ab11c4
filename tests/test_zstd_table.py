"""Zstandard with a seek table: read from its middle by what the table tells, which reading proves."""

from __future__ import annotations

import io
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.files import zstd
from tests.sources import HEADER, ROW
from tests.stores.small_store import SmallStore

from mockexport import count, open_source
from mockexport.errors import UntrustedDataError
from mockexport.sources.zstd_table import FramesReader, find_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mockexport.source import Source

OTHER = ROW.replace(b"P001", b"P002")
EXACT = {"P001": {"bp_sys": 18_000}, "P002": {"bp_sys": 18_000}}
KEY = "exports/trial/a.csv.zst"


def with_table(frames: Sequence[bytes], texts: Sequence[int], *, checksums: bool = False) -> bytes:
    """Frames and the table behind them."""
    entries = b"".join(
        struct.pack("<II", len(frame), text) + b"\0" * 4 * checksums for frame, text in zip(frames, texts, strict=True)
    )
    table = entries + struct.pack("<IBI", len(frames), 0x80 * checksums, 0x8F92EAB1)
    return b"".join(frames) + struct.pack("<II", 0x184D2A5E, len(table)) + table


def packed(texts: Sequence[bytes], *, checksums: bool = False) -> bytes:
    return with_table([zstd.compress(text) for text in texts], [len(text) for text in texts], checksums=checksums)


def text_of(data: bytes, offset: int) -> bytes:
    file = io.BytesIO(data)
    frames = find_table(file, len(data))  # type: ignore[arg-type]
    assert frames
    begin, skipped = frames.holding(offset)
    file.seek(begin)
    reader = FramesReader("a.csv.zst", file, frames, begin)  # type: ignore[arg-type]
    return b"".join(iter(lambda: reader.read(1000), b""))[offset - skipped :]


@pytest.mark.gate
@given(st.lists(st.binary(max_size=3000), min_size=2, max_size=6), st.booleans(), st.data())
def test_from_any_offset_on_the_text_is_that_of_the_whole(
    texts: list[bytes], checksums: bool, draw: st.DataObject
) -> None:
    whole = b"".join(texts)
    offset = draw.draw(st.integers(0, max(0, len(whole) - 1)))
    data = packed(texts, checksums=checksums)
    assert text_of(data, offset) == whole[offset:]
    assert zstd.decompress(data) == whole


@given(st.binary(max_size=200))
def test_any_bytes_are_a_sound_table_or_none(end: bytes) -> None:
    data = packed([b"a", b"b"]) + end
    found = find_table(io.BytesIO(data), len(data))  # type: ignore[arg-type]
    assert (found is None) == bool(end)


@pytest.mark.parametrize("wrong", [(-1, 0), (1, 0), (0, 1), (0, -1)])
def test_a_frame_that_is_not_as_the_table_tells_is_an_error(wrong: tuple[int, int]) -> None:
    """Sizes that differ from one frame to the next, and add up all the same."""
    frames = [zstd.compress(text) for text in (b"one", b"two", b"three")]
    sizes = [3 + wrong[0], 3 - wrong[0] + wrong[1], 5 - wrong[1]]
    with pytest.raises(UntrustedDataError, match="has other frames than the table at its end tells"):
        text_of(with_table(frames, sizes), 0)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallStore]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("mockexport.sources.data_files.LOOKED_AT_BYTES", 1)
    monkeypatch.setattr("mockexport.sources.data_files.STORE_SPLIT_BYTES", 1 << 18)
    with SmallStore({}) as store:
        yield store


def source_in(store: SmallStore) -> Source:
    return open_source("s3://bucket/exports", endpoint=store.url, retries=0)


def ranges_of(store: SmallStore) -> set[str | None]:
    """Which ranges of the object were asked for."""
    return {asked for _, key, asked in store.requests if key == KEY}


def test_an_object_with_a_table_is_counted_in_splits_with_the_same_result(store: SmallStore) -> None:
    texts = [HEADER + ROW * 9_000, OTHER * 9_000, ROW * 9_000, OTHER * 9_000]
    store.objects[KEY] = packed(texts)
    with closing(source_in(store)) as source:
        (download,) = source.downloads("trial")
        assert (download.size, download.split_size) == (len(b"".join(texts)), len(texts[0]))
        counts = count(source, "trial")
    assert {patient: sum(kinds.values()) for patient, kinds in counts.patients.items()} == {
        "P001": 18000,
        "P002": 18000,
    }
    assert len(ranges_of(store)) > 4


@pytest.mark.parametrize("rows", [1, -1, 4_000])
def test_a_table_that_lies_by_whole_rows_gives_no_other_count(store: SmallStore, rows: int) -> None:
    """The splits would fit together, were it not for what each of them compares."""
    texts = [HEADER + ROW * 9_000, OTHER * 9_000, ROW * 9_000, OTHER * 9_000]
    lie = rows * len(ROW)
    sizes = [len(texts[0]), len(texts[1]) + lie, len(texts[2]) - lie, len(texts[3])]
    store.objects[KEY] = with_table([zstd.compress(text) for text in texts], sizes)
    with closing(source_in(store)) as source:
        assert count(source, "trial").patients == EXACT


def test_an_object_without_a_table_is_read_from_its_start(store: SmallStore) -> None:
    store.objects[KEY] = b"".join(zstd.compress(text) for text in [HEADER + ROW * 9_000, OTHER * 9_000])
    with closing(source_in(store)) as source:
        (download,) = source.downloads("trial")
        assert (download.size, download.split_size) == (None, None)
        assert count(source, "trial").rows == 18_000
