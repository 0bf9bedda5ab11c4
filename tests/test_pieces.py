"""A download that is counted in pieces counts as it does in one go, whatever stands where it is cut."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.bodies import MALFORMED, SOUND
from tests.seeds import examples
from tests.sources import EXPORT, HEADER, ROW, MemorySource, NamedSource, csv_body

from mockexport import MockExportError, UntrustedDataError, count
from mockexport.errors import ChangedError
from mockexport.kernels import choose_kernels
from mockexport.pipeline.checkpoint import Checkpoint, Subject
from mockexport.pipeline.executors import process_workers, thread_workers
from mockexport.pipeline.splits import Piece, split
from mockexport.sources.folder import PIECE_BYTES, FolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport import Counts, Download
    from mockexport.kernels import Kernels
    from mockexport.source import Chunks

ROWS = st.sampled_from(
    [
        b"P001,2025-08-26T00:00:04Z,bp_sys,71\n",
        b"P002,2025-08-26T00:00:04Z,spo2,97\r\n",
        b'"P003","2025-08-26T00:00:04Z","bp_sys","71"\n',
        b'P004,t,spo2,"a\nP001,t,bp_sys,71\nb"\n',  # a line within quotes that would be a row
        b'P005,t,spo2,"\n\n\n"\n',
        b"\n",
        b"\r\n",
        b"P006,t,spo2\n",
        b'P00"7,t,spo2,1\n',
        b"\xff,t,spo2,1\n",
        b'"P008,t,spo2,1\n',  # its quote is closed by the next one, wherever that stands
    ]
)
HEADS = st.sampled_from(
    [
        HEADER,
        HEADER,
        HEADER,
        b"\xef\xbb\xbf" + HEADER,
        b'event_time,patient_id,event_type,value,"a\nb"\n',
        b"\n" + HEADER,
    ]
)


def outcome(source: MemorySource, *, skip: bool, kernels: Kernels) -> Counts | str:
    try:
        return count(source, EXPORT, skip_malformed=skip, tally=kernels.tally, start_workers=one_worker)
    except MockExportError as error:
        return str(error)


one_worker = partial(thread_workers, jobs=1)


@examples(60, 1000)
@given(
    head=HEADS,
    rows=st.lists(ROWS, max_size=25),
    cut=st.integers(0, 3),
    piece=st.integers(1, 120),
    chunk_bytes=st.integers(1, 200),
    skip=st.booleans(),
    declared=st.sampled_from([None, 0, 5]),
)
@example(head=HEADER, rows=[b'P004,t,spo2,"a\nP001,t,bp_sys,71\nb"\n'] * 9, cut=0, piece=7, chunk_bytes=9, skip=False,
         declared=None)  # fmt: skip
def test_pieces_count_as_the_whole_does(
    kernels: Kernels,
    head: bytes,
    rows: list[bytes],
    cut: int,
    piece: int,
    chunk_bytes: int,
    skip: bool,
    declared: int | None,
) -> None:
    body = head + b"".join(rows)
    body = body[: len(body) - cut]
    given_rows = {"a": None if declared is None else len(rows) + declared - 5}
    whole = MemorySource({"a": body}, given_rows, chunk_bytes)
    in_pieces = MemorySource({"a": body}, given_rows, chunk_bytes, piece=piece)
    assert outcome(in_pieces, skip=skip, kernels=kernels) == outcome(whole, skip=skip, kernels=kernels)


@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND.keys())
@pytest.mark.parametrize("piece", [1, 30, 64])
def test_each_kind_of_sound_body_counts_in_pieces(kernels: Kernels, body: bytes, piece: int) -> None:
    whole = count(MemorySource({"a": body}), EXPORT, tally=kernels.tally)
    assert count(MemorySource({"a": body}, piece=piece), EXPORT, tally=kernels.tally) == whole


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_row_is_named_with_its_own_line_however_the_body_is_cut(kernels: Kernels, kind: str) -> None:
    body = MALFORMED[kind].body
    whole = MemorySource({"a": body}, chunk_bytes=1 << 16)
    told = outcome(whole, skip=False, kernels=kernels)
    assert isinstance(told, str)
    assert outcome(replace(whole, piece=max(1, len(body) // 5)), skip=False, kernels=kernels) == told


def test_pieces_are_read_from_their_own_places_and_nothing_twice(kernels: Kernels) -> None:
    source = MemorySource({"a": csv_body(1000)}, chunk_bytes=100, piece=10_000)
    assert count(source, EXPORT, tally=kernels.tally).rows == 1000
    size = len(csv_body(1000))
    places = [len(HEADER), *(size * number // 4 - 1 for number in range(1, 4))]
    assert sorted(source.places) == sorted([("a", 0), *(("a", place) for place in places)])


def test_pieces_that_begin_within_quotes_are_found_out_and_the_whole_is_read(kernels: Kernels) -> None:
    inside = b"P9,t,x,1\n" * 40
    body = HEADER + ROW * 10 + b'P001,t,note,"' + inside + b'"\n' + ROW * 10
    source = MemorySource({"a": body}, chunk_bytes=100, piece=len(body) // 2)
    counts = count(source, EXPORT, tally=kernels.tally)
    assert counts.patients == {"P001": {"bp_sys": 20, "note": 1}}
    assert source.places[-1] == ("a", 0)


def test_a_line_end_in_quotes_where_a_piece_begins_is_seen_for_what_it_is(kernels: Kernels) -> None:
    row = b'P001,2025-08-26T00:00:04Z,bp_sys,"71\nand more"\n'
    body = HEADER + row * 100
    source = MemorySource({"a": body}, chunk_bytes=100, piece=500)
    assert count(source, EXPORT, tally=kernels.tally).rows == 100
    assert source.places.count(("a", 0)) == 1, "the header alone is read from the start"


def test_fewer_rows_than_declared_are_an_error_in_pieces_too(kernels: Kernels) -> None:
    source = MemorySource({"a": csv_body(100)}, {"a": 101}, piece=500)
    with pytest.raises(UntrustedDataError, match="declares 101 rows but holds 100"):
        count(source, EXPORT, tally=kernels.tally)


@pytest.mark.parametrize("declared", [99, 100, 101])
def test_a_last_row_without_a_line_end_counts_in_pieces_as_in_one_go(kernels: Kernels, declared: int) -> None:
    body = csv_body(100)[:-1]
    whole = MemorySource({"a": body}, {"a": declared})
    source = MemorySource({"a": body}, {"a": declared}, piece=500)
    assert outcome(source, skip=False, kernels=kernels) == outcome(whole, skip=False, kernels=kernels)
    if declared == 100:
        assert source.places.count(("a", 0)) == 1, "for the header alone: the pieces fit together"


def test_pieces_that_end_elsewhere_than_the_download_are_no_count_of_it(kernels: Kernels) -> None:
    class Short(MemorySource):
        """The bodies end a row short of their sizes, at first."""

        def open(self, download: Download, offset: int = 0) -> Chunks:
            self.places.append((download.id, offset))
            body = self.bodies[download.id]
            yield body[offset : len(body) if len(self.places) > 4 else len(body) - len(ROW)]

    source = Short({"a": csv_body(100)}, piece=len(csv_body(100)) // 3)
    assert count(source, EXPORT, tally=kernels.tally).rows == 100
    assert source.places[-1] == ("a", 0), "it was read in one go"


def test_a_piece_of_a_download_that_changed_ends_the_count_and_nothing_is_read_again(kernels: Kernels) -> None:
    class Changed(MemorySource):
        def open(self, download: Download, offset: int = 0) -> Chunks:
            yield from super().open(download, offset)
            if offset > len(HEADER):
                raise ChangedError("a changed")

    source = Changed({"a": csv_body(100)}, piece=500)
    with pytest.raises(ChangedError, match="a changed"):
        count(source, EXPORT, tally=kernels.tally, start_workers=one_worker)
    assert source.places.count(("a", 0)) == 1


def test_a_download_that_is_shorter_than_its_size_says_is_read_in_one_go(kernels: Kernels) -> None:
    class Cut(MemorySource):
        def downloads(self, export: str) -> list[Download]:
            return [replace(download, size=2 * (download.size or 0)) for download in super().downloads(export)]

    source = Cut({"a": csv_body(99)}, {"a": 100}, piece=500)
    with pytest.raises(UntrustedDataError, match="declares 100 rows but holds 99"):
        count(source, EXPORT, tally=kernels.tally)


def test_pieces_travel_to_processes(kernels: Kernels) -> None:
    source = MemorySource({"a": csv_body(1000), "b": csv_body(10)}, piece=5000)
    counts = count(source, EXPORT, tally=kernels.tally, start_workers=partial(process_workers, jobs=2))
    assert counts.patients == {"P001": {"bp_sys": 1010}}


def test_a_checkpoint_keeps_a_download_once_all_its_pieces_are_counted(tmp_path: Path, kernels: Kernels) -> None:
    source = NamedSource({"a": csv_body(1000), "b": csv_body(10)}, piece=5000)
    for expected in (0, 2):
        with Checkpoint(tmp_path / "kept", Subject("memory", EXPORT, skip_malformed=False)) as checkpoint:
            assert checkpoint.count == expected
            assert count(source, EXPORT, tally=kernels.tally, checkpoint=checkpoint).rows == 1010


def test_small_downloads_and_those_without_a_size_stay_whole(kernels: Kernels) -> None:
    small = MemorySource({"a": csv_body(10)}, piece=len(csv_body(10)) // 2 + 1)
    unknown = MemorySource({"a": csv_body(1000)})
    for source in (small, unknown):
        (download,) = source.downloads(EXPORT)
        assert split(source, download, kernels.tally) == [download]


# ---- Folders ----


def test_a_plain_file_is_cut_a_packed_or_hashed_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "a.csv").write_bytes(csv_body(10))
    (tmp_path / "trial" / "b.csv.gz").write_bytes(b"")
    plain, packed = FolderSource(tmp_path).downloads("trial")
    assert (plain.piece, packed.piece) == (PIECE_BYTES, None)
    manifest = b'{"export": "trial", "downloads": [{"id": "a", "file": "a.csv", "sha256": "%s"}]}' % (b"0" * 64)
    (tmp_path / "trial" / "b.csv.gz").unlink()
    (tmp_path / "trial" / "manifest.json").write_bytes(manifest)
    (hashed,) = FolderSource(tmp_path).downloads("trial")
    assert hashed.piece is None


def test_a_large_file_is_counted_in_pieces(tmp_path: Path) -> None:
    """Rows that differ in length, so that pieces begin anywhere in a row."""
    rows = b"".join(b"P%d,2025-08-26T00:00:04.906404Z,bp_sys,%d\n" % (n % 7, n) for n in range(10_000))
    times = 3 * PIECE_BYTES // len(rows)
    (tmp_path / "trial").mkdir()
    with (tmp_path / "trial" / "large.csv").open("wb") as file:
        file.write(HEADER)
        for _ in range(times):
            file.write(rows)
    source = FolderSource(tmp_path)
    tally = choose_kernels(os.environ.get("MOCKEXPORT_KERNEL", "auto")).tally
    parts = split(source, source.downloads("trial")[0], tally)
    assert len(parts) == 2
    assert all(isinstance(part, Piece) for part in parts)
    counts = count(source, "trial", tally=tally)
    assert counts.rows == 10_000 * times
    assert counts.patients["P3"] == {"bp_sys": times * len(range(3, 10_000, 7))}
