"""A file of FHIR resources that is counted in splits counts as it does in one go, over HTTP, too."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hypothesis import example, given
from hypothesis import strategies as st
from tests.seeds import examples
from tests.server.serving import serving
from tests.sources import EXPORT, MemorySource

from mockexport import FhirFormat, MockExportError, count
from mockexport.pipeline.executors import thread_workers
from mockexport.sources import FolderSource, HttpSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from mockexport import Counts, Download
    from mockexport.source import Chunks

ROW = b'{"resourceType":"Observation","subject":{"reference":"Patient/%d"},"note":"%b"}\n'
ROWS = st.sampled_from(
    [
        ROW % (1, b""),
        (ROW % (2, b"x" * 50)).replace(b"\n", b"\r\n"),
        ROW % (3, b'\\n\\"{'),
        b'{"resourceType":"Organization"}\n',
        b"\n",
        b" \t\r\n",
        b"\xef\xbb\xbf\n",
        b"\xef\xbb\xbf" + ROW % (4, b""),
        ROW % (5, b"z" * 300),
        b'{"resourceType":"Patient","id":"6"\n',
        b"[]\n",
    ]
)  # fmt: skip
one_worker = partial(thread_workers, jobs=1)


@dataclass
class ResourceSource(MemorySource):
    """Bodies of NDJSON in memory."""

    def downloads(self, export: str) -> Sequence[Download]:
        return [replace(download, format="ndjson") for download in super().downloads(export)]


def outcome(source: ResourceSource, *, skip: bool, kernel: str, limit: int) -> Counts | str:
    fhir = FhirFormat(max_row_bytes=limit)
    try:
        return count(source, EXPORT, skip_malformed=skip, kernel=kernel, fhir=fhir, start_workers=one_worker)
    except MockExportError as error:
        return str(error)


@examples(60, 2_000)
@given(
    rows=st.lists(ROWS, max_size=25),
    cut=st.integers(0, 3),
    split_size=st.integers(1, 200),
    chunk_bytes=st.integers(1, 300),
    skip=st.booleans(),
    limit=st.sampled_from([1 << 24, 200, 0]),
)
@example(rows=[ROW % (1, b""), b"\xef\xbb\xbf" + ROW % (4, b"")], cut=0, split_size=40, chunk_bytes=9, skip=False,
         limit=1 << 24)  # fmt: skip
def test_splits_count_as_the_whole_does(
    *, kernel: str, rows: list[bytes], cut: int, split_size: int, chunk_bytes: int, skip: bool, limit: int
) -> None:
    body = b"".join(rows)
    body = body[: len(body) - cut]
    whole = ResourceSource({"a": body}, {}, chunk_bytes)
    in_splits = ResourceSource({"a": body}, {}, chunk_bytes, split_size=split_size)
    assert outcome(in_splits, skip=skip, kernel=kernel, limit=limit) == outcome(
        whole, skip=skip, kernel=kernel, limit=limit
    )


class WatchedSource(FolderSource):
    """A folder that notes from where it was read."""

    offsets: ClassVar[set[int]] = set()

    def open(self, download: Download, offset: int = 0, **watch: object) -> Chunks:
        self.offsets.add(offset)
        return super().open(download, offset, **watch)


def test_a_server_is_asked_for_ranges_of_a_large_file(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.sources.http.SPLIT_BYTES", 2_000)
    body = b"".join(ROW % (number % 7, b"x" * number) for number in range(200))
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "a.ndjson").write_bytes(body)
    behind = WatchedSource(tmp_path)
    expected = count(behind, "trial", kernel=kernel)
    behind.offsets.clear()
    with serving(behind) as url, closing(HttpSource(url)) as source:
        assert count(source, "trial", kernel=kernel) == expected
    assert len(behind.offsets) >= len(body) // 2_000 > 10
