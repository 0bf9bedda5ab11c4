"""The checkpoint of a count: nothing finished is done twice, and nothing wrong is ever believed."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources import EXPORT, HEADER, ROW, MemorySource, NamedSource, csv_body

from mockexport import Counts, Download, count
from mockexport.cli.documents import counts_document
from mockexport.encoding import json_bytes, printable
from mockexport.errors import MockExportError, UnreachableError, UntrustedDataError, UsageError
from mockexport.pipeline.checkpoint import Checkpoint, Subject
from mockexport.pipeline.executors import thread_workers
from mockexport.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport.source import Chunks

SUBJECT = Subject("memory", EXPORT, skip_malformed=False)
BODIES = {"one": csv_body(3), "two": HEADER + ROW.replace(b"P001", b"P\xc3\xa92") * 2, "three": csv_body(1)}
FIRST = Download(EXPORT, "one", rows=3, etag='"a"')
FIRST_COUNTS = Counts({"P001": {"bp_sys": 3}}, {})


@dataclass
class SpySource(NamedSource):
    """Remembers what was opened; the download `fails` can't be reached."""

    opened: list[str] = field(default_factory=list)
    fails: str | None = None

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        self.opened.append(download.id)
        if download.id == self.fails:
            raise UnreachableError("not today")
        return super().open(download, offset)


def counted(source: SpySource, path: Path, subject: Subject = SUBJECT) -> bytes:
    with Checkpoint(path, subject) as checkpoint:
        return json_bytes(counts_document(count(source, EXPORT, checkpoint=checkpoint)))


ANSWER = json_bytes(counts_document(count(MemorySource(BODIES), EXPORT)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A checkpoint in which all three downloads are kept, as bytes."""
    path = tmp_path_factory.mktemp("finished") / "kept"
    counted(SpySource(BODIES), path)
    return path.read_bytes()


def test_finished_downloads_are_not_opened_again_and_the_answer_is_the_same(path: Path) -> None:
    first = SpySource(BODIES)
    again = SpySource(BODIES)
    assert counted(first, path) == ANSWER
    assert sorted(first.opened) == ["one", "three", "two"]
    assert counted(again, path) == ANSWER
    assert again.opened == []


def test_after_an_error_only_what_was_not_finished_is_opened(path: Path) -> None:
    rows = {"one": 3, "two": 2, "three": 1}  # the largest is first
    source = SpySource(BODIES, rows, fails="three")
    with Checkpoint(path, SUBJECT) as checkpoint, pytest.raises(UnreachableError):
        count(source, EXPORT, checkpoint=checkpoint, start_workers=partial(thread_workers, jobs=1))
    again = SpySource(BODIES, rows)
    assert counted(again, path) == ANSWER
    assert again.opened == ["three"]


def test_a_download_is_on_disk_as_soon_as_it_is_kept(path: Path) -> None:
    with Checkpoint(path, SUBJECT) as checkpoint:
        checkpoint.keep(FIRST, FIRST_COUNTS)
        assert path.read_bytes().count(b"\n") == 2
        assert checkpoint.count == 1


def test_what_is_kept_is_found_again_with_the_rows_that_were_left_out(path: Path) -> None:
    counts = Counts({'P"1\n': {"bp sys": 1 << 40}}, {"bad quote": 2})
    with Checkpoint(path, SUBJECT) as checkpoint:
        checkpoint.keep(FIRST, counts)
    with Checkpoint(path, SUBJECT) as checkpoint:
        assert (checkpoint.find(FIRST), checkpoint.count) == (counts, 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, id="other"),
        replace(FIRST, rows=4),
        replace(FIRST, rows=None),
        replace(FIRST, etag='"b"'),
        replace(FIRST, etag=None),
    ],
    ids=["id", "rows", "rows not declared", "etag", "no etag"],
)
def test_a_download_that_is_no_longer_the_same_is_counted_again(path: Path, other: Download) -> None:
    with Checkpoint(path, SUBJECT) as checkpoint:
        checkpoint.keep(FIRST, FIRST_COUNTS)
    with Checkpoint(path, SUBJECT) as checkpoint:
        assert checkpoint.find(other) is None
        assert checkpoint.find(FIRST) == FIRST_COUNTS


@pytest.mark.parametrize("etag", [None, "", 'W/"a"'])
def test_a_download_that_no_strong_etag_names_is_neither_kept_nor_found(path: Path, etag: str | None) -> None:
    nameless = replace(FIRST, etag=etag)
    with Checkpoint(path, SUBJECT) as checkpoint:
        before = path.read_bytes()
        checkpoint.keep(nameless, FIRST_COUNTS)
        assert checkpoint.find(nameless) is None
        assert (checkpoint.count, checkpoint.nameless) == (0, 1)
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "now"),
    [(None, None), ('W/"1"', 'W/"1"'), ('W/"1"', 'W/"2"'), (None, '"1"'), ('"1"', '"2"'), ('"1"', None)],
)
def test_what_may_have_changed_is_counted_again(path: Path, before: str | None, now: str | None) -> None:
    @dataclass
    class Version(SpySource):
        etag: str | None = None

        def downloads(self, export: str) -> Sequence[Download]:
            return [replace(download, etag=self.etag) for download in super().downloads(export)]

    changed = {name: body.replace(b"bp_sys", b"bp_dia") for name, body in BODIES.items()}
    assert counted(Version(BODIES, etag=before), path) == ANSWER
    source = Version(changed, etag=now)
    assert counted(source, path) == json_bytes(counts_document(count(MemorySource(changed), EXPORT)))
    assert sorted(source.opened) == ["one", "three", "two"]


def test_a_file_that_was_replaced_with_the_same_size_and_time_is_counted_again(tmp_path: Path, path: Path) -> None:
    export = tmp_path / "exports" / EXPORT
    export.mkdir(parents=True)
    for name, body in BODIES.items():
        (export / f"{name}.csv").write_bytes(body)

    def counted_again() -> dict[str, int]:
        source = FolderSource(tmp_path / "exports")
        with Checkpoint(path, replace(SUBJECT, source=source.name)) as checkpoint:
            return count(source, EXPORT, checkpoint=checkpoint).totals

    assert counted_again() == {"bp_sys": 6}
    status = (export / "one.csv").stat()
    (export / ".one.csv").write_bytes(BODIES["one"].replace(b"bp_sys", b"bp_dia"))  # as rsync -t does
    os.utime(export / ".one.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    (export / ".one.csv").rename(export / "one.csv")
    assert counted_again() == {"bp_sys": 3, "bp_dia": 3}


NOT_UTF8 = os.fsdecode(b"caf\xe9 \xff") + "\\udcff é"


def test_names_of_files_that_are_not_utf8_are_found_again(path: Path) -> None:
    subject = Subject(NOT_UTF8, NOT_UTF8, skip_malformed=False)
    download = replace(FIRST, export=NOT_UTF8, id=NOT_UTF8)
    with Checkpoint(path, subject) as checkpoint:
        checkpoint.keep(download, FIRST_COUNTS)
    with Checkpoint(path, subject) as checkpoint:
        assert (checkpoint.find(download), checkpoint.count) == (FIRST_COUNTS, 1)
        assert checkpoint.find(replace(download, id=NOT_UTF8.replace("\udcff", "?"))) is None
    with pytest.raises(UsageError, match="belongs to export") as caught, Checkpoint(path, SUBJECT):
        pass
    assert printable(str(caught.value)).isprintable()


def test_a_checkpoint_of_the_format_before_is_refused_by_name_and_stays(path: Path) -> None:
    head = {"mockexport_checkpoint": 1, "source": "memory", "export": EXPORT, "skip_malformed": False}
    entry = {"id": "one", "rows": 3, "etag": None, "patients": {"P001": {"bp_sys": 3}}, "left_out": {}}
    path.write_bytes(line(head) + line(entry))
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught, Checkpoint(path, SUBJECT):
        pass
    assert str(caught.value) == (
        f"the checkpoint {path} has format 1, of an earlier version; this version reads 2: "
        "choose another file, or remove it"
    )
    assert path.read_bytes() == before


def test_its_folder_is_on_disk_before_it_is_relied_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    (path.parent / "far").mkdir()
    path.symlink_to("far/kept")
    monkeypatch.setattr(os, "fsync", note)
    for _ in range(2):  # the first run may have been killed before it could
        synced.clear()
        with Checkpoint(path, SUBJECT):
            pass
        assert (path.parent / "far").stat().st_ino in synced


@pytest.mark.parametrize(
    "other",
    [replace(SUBJECT, source="http://b"), replace(SUBJECT, export="b"), replace(SUBJECT, skip_malformed=True)],
    ids=["source", "export", "malformed rows"],
)
def test_a_checkpoint_of_another_subject_is_refused_by_name_and_stays(
    path: Path, finished: bytes, other: Subject
) -> None:
    path.write_bytes(finished)
    with pytest.raises(UsageError) as caught, Checkpoint(path, other):
        pass
    assert f"the checkpoint {path} belongs to export 'trial' from memory; " in str(caught.value)
    assert path.read_bytes() == finished


def test_whose_it_is_includes_whether_malformed_rows_were_left_out(path: Path) -> None:
    with Checkpoint(path, replace(SUBJECT, skip_malformed=True)):
        pass
    with pytest.raises(UsageError, match="from memory, malformed rows left out; "), Checkpoint(path, SUBJECT):
        pass


@pytest.mark.gate
def test_every_damaged_byte_is_refused_or_at_the_very_end_dropped(path: Path, finished: bytes) -> None:
    for at in range(len(finished)):
        for flipped in (0x01, 0x20, 0x80, finished[at] ^ ord("\n")):
            data = bytearray(finished)
            data[at] ^= flipped
            if bytes(data) == finished:
                continue
            path.write_bytes(data)
            again = SpySource(BODIES)
            if at < len(finished) - 1:
                with pytest.raises(UntrustedDataError) as caught:
                    counted(again, path)
                assert str(path) in str(caught.value)
                assert path.read_bytes() == data
            else:  # the last line has no end: it was being written when the power went
                assert counted(again, path) == ANSWER
                assert len(again.opened) == 1


@pytest.mark.gate
def test_cut_off_at_any_byte_it_goes_on_from_the_lines_that_are_whole(path: Path, finished: bytes) -> None:
    for end in range(len(finished)):
        path.write_bytes(finished[:end])
        again = SpySource(BODIES)
        assert counted(again, path) == ANSWER
        kept = max(0, finished[:end].count(b"\n") - 1)
        assert len(again.opened) == len(BODIES) - kept
        assert sorted(path.read_bytes().split(b"\n")) == sorted(finished.split(b"\n"))


@given(data=st.data())
def test_lines_in_any_order_and_number_are_never_a_wrong_count(
    tmp_path_factory: pytest.TempPathFactory, finished: bytes, data: st.DataObject
) -> None:
    lines = finished.splitlines(keepends=True)
    drawn = data.draw(st.lists(st.sampled_from(lines), max_size=6))
    path = tmp_path_factory.mktemp("lines") / "kept"
    path.write_bytes(b"".join(drawn))
    try:
        assert counted(SpySource(BODIES), path) == ANSWER
    except MockExportError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right


def line(document: object) -> bytes:
    data = document if isinstance(document, bytes) else orjson.dumps(document)
    return b"%08x %s\n" % (zlib.crc32(data), data)


@pytest.mark.parametrize(
    "entry",
    [b"no json", [], {"id": "one"}, {"id": [], "rows": 3, "etag": None, "patients": {}, "left_out": {}}],
    ids=["no JSON", "a list", "fields missing", "an id that is none"],
)
def test_a_line_that_makes_no_sense_is_damaged_though_its_checksum_is_right(path: Path, entry: object) -> None:
    with Checkpoint(path, SUBJECT):
        pass
    path.write_bytes(path.read_bytes() + line(entry))
    with pytest.raises(UntrustedDataError, match="is damaged in line 2; remove it"), Checkpoint(path, SUBJECT):
        pass


@pytest.mark.parametrize(
    "data",
    [b"dear diary", b"dear diary\n", b"\n", b"\0" * 5000, b"\x1f\x8b\n\n", line({"patients": {}}), line(b"{")],
)
def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(MockExportError, match="choose another file") as caught, Checkpoint(path, SUBJECT):
        pass
    assert "remove it" not in str(caught.value)
    assert path.read_bytes() == data


def test_an_empty_file_is_begun(path: Path) -> None:
    path.touch()
    assert counted(SpySource(BODIES), path) == ANSWER
    again = SpySource(BODIES)
    assert counted(again, path) == ANSWER
    assert again.opened == []


@pytest.mark.parametrize("kept", [0, 1])
def test_a_second_run_is_refused_while_the_first_one_is_at_it(path: Path, kept: int) -> None:
    pytest.importorskip("fcntl", reason="files are locked where the system can")
    with Checkpoint(path, SUBJECT) as checkpoint:
        for _ in range(kept):
            checkpoint.keep(FIRST, FIRST_COUNTS)
        before = path.read_bytes()
        with pytest.raises(UsageError, match="is in use by another run"), Checkpoint(path, SUBJECT):
            pass
        assert path.read_bytes() == before
        checkpoint.keep(replace(FIRST, id="two"), FIRST_COUNTS)
    with Checkpoint(path, SUBJECT) as checkpoint:  # and the first one took no harm
        assert checkpoint.count == kept + 1


def pipe(place: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    os.mkfifo(place)


def below_a_file(place: Path) -> None:
    place.parent.rmdir()
    place.parent.write_bytes(b"")


def nowhere(place: Path) -> None:
    place.parent.rmdir()


def endless(place: Path) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there are no such devices here")
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [Path.mkdir, pipe, below_a_file, nowhere, endless])
def test_a_place_that_can_not_be_written_is_a_usage_error_before_any_work(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    place = tmp_path / "folder" / "kept"
    place.parent.mkdir()
    make(place)
    source = SpySource(BODIES)
    with pytest.raises(UsageError, match="kept"):
        counted(source, place)
    assert source.opened == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.test_checkpoint import BODIES, SpySource, counted
from mockexport import UsageError
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
try:
    counted(SpySource(BODIES), Path(sys.argv[1]))
except UsageError as error:
    print(error)
"""


@pytest.mark.gate
def test_a_full_disk_is_a_usage_error_and_what_was_kept_before_stands(path: Path) -> None:
    pytest.importorskip("resource", reason="the size of files can't be limited here")
    here = Path(__file__).parents[1]
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=here)
    assert done.stdout == f"cannot write the checkpoint {path}: File too large\n"
    again = SpySource(BODIES)
    assert counted(again, path) == ANSWER
    assert len(again.opened) < len(BODIES)
