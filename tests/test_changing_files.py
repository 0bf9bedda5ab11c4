"""Files that change while they are read: all that anyone gets of one is of a single version, or it is an error."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import COMMAND
from tests.commands import started
from tests.files import PACK, source_of
from tests.sources import HEADER, WAIT_SECONDS

from mockexport import Download, UntrustedDataError, count
from mockexport.errors import ChangedError
from mockexport.local_file import LocalFile
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.splits import Split, split_download
from mockexport.place import file_versions, read_whole
from mockexport.sources.folder import FolderSource
from mockexport.tally import TallySpec

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from mockexport.source import Chunks


def body_of(patient: bytes, rows: int) -> bytes:
    """Rows of one patient, each of the same size, whoever the patient is."""
    return HEADER + b"".join(b"%s,2025-08-26T00:00:04Z,bp_sys,%06d\n" % (patient, n) for n in range(rows))


OLD, NEW = body_of(b"P001", 50_000), body_of(b"P999", 50_000)  # some chunks of half a megabyte


def rewrite(file: Path, data: bytes) -> None:
    """Write other bytes of the same size, and set back the time of the last change."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_rename(file: Path, data: bytes) -> None:
    before = file.stat()
    other = file.with_name(".other")
    other.write_bytes(data)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)


def lengthen(file: Path, data: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(data[-1000:])


CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "truncated": lambda file, _: os.truncate(file, file.stat().st_size // 2),
    "rewritten in place": rewrite,
    "grown": lengthen,
    "replaced by another": replace_by_rename,
    "removed": lambda file, _: file.unlink(),
}
EACH_CHANGE = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
EACH_SUFFIX = pytest.mark.parametrize("suffix", PACK)


def written(export: Path, suffix: str = ".csv") -> tuple[Path, FolderSource, Download]:
    """A file, and the source that has listed it."""
    file = export / f"a{suffix}"
    file.write_bytes(PACK[suffix](OLD))
    source = source_of(export)
    (download,) = source.downloads(export.name)
    return file, source, download


@EACH_SUFFIX
@EACH_CHANGE
@pytest.mark.parametrize("taken", [1, 3, len(OLD)])
def test_no_chunk_comes_after_a_change(
    export: Path, suffix: str, change: Callable[[Path, bytes], object], taken: int
) -> None:
    """Nor does an end: `taken` bytes are read, at the least, then the file changes."""
    file, source, download = written(export, suffix)
    chunks = source.open(download)
    read = b""
    while len(read) < taken:
        read += next(chunks)
    change(file, PACK[suffix](NEW))
    with pytest.raises(ChangedError, match=rf"{file} (changed|was removed) while it was read"):
        next(chunks)
    assert OLD.startswith(read)


@EACH_SUFFIX
@pytest.mark.parametrize("change", [change for name, change in CHANGES.items() if name != "removed"])
def test_a_file_that_changed_since_it_was_listed_gives_no_chunk(
    export: Path, suffix: str, change: Callable[[Path, bytes], object]
) -> None:
    file, source, download = written(export, suffix)
    change(file, PACK[suffix](NEW))
    with pytest.raises(ChangedError, match=rf"{file} has changed since it was listed"):
        next(source.open(download))


def test_a_link_that_leads_to_another_file_by_the_end_is_a_change(export: Path) -> None:
    for name, body in ((".old", OLD), (".new", NEW)):
        (export / name).write_bytes(body)
    (export / "a.csv").symlink_to(".old")
    chunks = source_of(export).open(Download("trial", "a"))
    next(chunks)
    (export / ".link").symlink_to(".new")
    (export / ".link").replace(export / "a.csv")
    with pytest.raises(ChangedError, match=r"a\.csv changed while it was read"):
        list(chunks)


def test_a_damaged_packed_file_that_does_not_change_is_still_said_to_be_damaged(export: Path) -> None:
    (export / "a.csv.gz").write_bytes(PACK[".csv.gz"](OLD)[:-9])
    with pytest.raises(UntrustedDataError, match="cannot be decompressed") as failed:
        count(source_of(export), "trial")
    assert not isinstance(failed.value, ChangedError)


# ---- Versions ----


@pytest.mark.gate
def test_a_write_in_the_same_tick_as_the_listing_is_a_change(export: Path) -> None:
    """However soon after one write the next one comes, and however coarse the clock that the kernel stamps it with."""
    file = export / "a.csv"
    etags = set()
    for number in range(50):
        file.write_bytes(b"%09d" % number)
        etags.add(source_of(export).downloads("trial")[0].etag)
    assert len(etags) == 50


def test_a_file_that_is_being_written_while_it_is_listed_has_no_etag_and_is_not_read_in_pieces(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = export / "a.csv"
    file.write_bytes(OLD)
    monkeypatch.setattr(time, "sleep", lambda _: rewrite(file, NEW))
    monkeypatch.setattr(time, "time_ns", lambda: file.stat().st_ctime_ns)  # a busy machine is later than it was young
    (download,) = source_of(export).downloads("trial")
    assert download == Download("trial", "a")
    file.write_bytes(OLD)
    with pytest.raises(ChangedError, match=r"a\.csv changed while it was read"):
        next(source_of(export).open(download))


def test_young_files_are_waited_for_once_in_a_listing_and_old_ones_never(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    files = [export / f"{number}.csv" for number in range(20)]
    for file in files:
        file.write_bytes(OLD[:1000])
    now = max(file.stat().st_ctime_ns for file in files)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    assert None not in file_versions(files).values()
    assert len(waits) == 1
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**9)
    assert None not in file_versions(files).values()
    assert len(waits) == 1
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)  # the clock was set back: no reason to wait for it
    assert None not in file_versions(files).values()
    assert waits == [pytest.approx(0.02)] * 2


@EACH_CHANGE
def test_a_small_file_that_changes_before_its_end_is_proven_is_an_error(
    tmp_path: Path, change: Callable[[Path, bytes], object]
) -> None:
    """As `read_whole` reads manifests, tokens and committed results."""
    file = tmp_path / "manifest.json"
    file.write_bytes(OLD)
    assert read_whole(file) == OLD
    with LocalFile(file) as opened:
        opened.read()
        change(file, NEW)
        with pytest.raises(ChangedError, match=str(file)):
            opened.check_end()


# ---- Counts ----


@dataclass
class Changing(FolderSource):
    """A folder in which the file changes once so many chunks of it were read."""

    folder: Path
    change: Callable[[], object]
    after: int
    opened: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.folder)

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        self.opened.append(offset)
        for chunk in super().open(download, offset):
            yield chunk
            self.after -= 1
            if self.after == 0:
                self.change()


@EACH_SUFFIX
@EACH_CHANGE
def test_a_count_of_a_file_that_changes_is_an_error_and_the_file_is_not_read_again(
    export: Path, suffix: str, change: Callable[[Path, bytes], object]
) -> None:
    file, _, _ = written(export, suffix)
    source = Changing(export.parent, partial(change, file, PACK[suffix](NEW)), after=2)
    with pytest.raises(ChangedError, match=str(file)):
        count(source, "trial")
    assert source.opened == [0]


@EACH_CHANGE
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_count_in_pieces_of_a_file_that_changes_is_an_error_and_the_file_is_not_read_in_one_go(
    export: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, bytes], object], after: int
) -> None:
    monkeypatch.setattr("mockexport.sources.data_files.SPLIT_BYTES", len(OLD) // 3)
    file, plain, download = written(export)
    assert [type(part) for part in split_download(plain, download, TallySpec())] == [Split] * 3
    source = Changing(export.parent, partial(change, file, NEW), after)
    with pytest.raises((ChangedError, UntrustedDataError)) as failed:
        count(source, "trial", start_workers=partial(thread_workers, jobs=1))
    assert isinstance(failed.value, ChangedError)
    assert source.opened.count(0) == 1, "for the header alone"


# ---- The command, stopped in the middle of a file ----

MANY = 400_000  # rows, some 15 MB: plain Python takes long enough over them to be stopped on the way
IN_PIECES = (
    sys.executable,
    "-c",
    "import mockexport.sources.data_files as d, mockexport.__main__ as m; d.SPLIT_BYTES = 1 << 21; m.main()",
)


def places_in(file: Path, session: int) -> list[int]:
    """Where the processes of a session are in a file that they read."""
    places = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if os.getsid(int(process.name)) != session:
                continue
            for opened in (process / "fd").iterdir():
                if opened.readlink() == file:
                    told = (process / "fdinfo" / opened.name).read_text()
                    places.append(int(told.split("pos:")[1].split()[0]))
        except (OSError, ProcessLookupError):  # it has ended, or the file is closed by now
            continue
    return places


def stop_within(file: Path, process: subprocess.Popen[str]) -> None:
    """Stop the command, with all its processes, in the middle of a file."""
    size = file.stat().st_size
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline, "waited in vain"
        if places_in(file, process.pid):
            os.killpg(process.pid, signal.SIGSTOP)
            if any(0.1 < place / size < 0.8 for place in places_in(file, process.pid)):
                return
            os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.001)


HOWS = {
    "whole": (("count", "trial", "-s", "root", "-j", "1"), (COMMAND,), ".csv"),
    "whole gzip": (("count", "trial", "-s", "root", "-j", "1"), (COMMAND,), ".csv.gz"),
    "whole zstd": (("count", "trial", "-s", "root", "-j", "1"), (COMMAND,), ".csv.zst"),
    "splits in threads": (("count", "trial", "-s", "root", "-j", "1"), IN_PIECES, ".csv"),
    "splits in processes": (("count", "trial", "-s", "root", "-j", "2"), IN_PIECES, ".csv"),
    "fetch": (("downloads", "fetch", "trial", "-s", "root", "--dir", "kept", "-j", "1"), (COMMAND,), ".csv"),
}

EACH_WAY = [  # a part of them in each run of the tests
    pytest.param(change, how, marks=() if change == "rewritten in place" or how == "whole" else pytest.mark.slow)
    for change in CHANGES
    for how in HOWS
]


@pytest.fixture(scope="module")
def large() -> tuple[bytes, bytes]:
    return body_of(b"P001", MANY), body_of(b"P999", MANY)


@pytest.mark.gate
@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="the system does not tell where a process reads")
@pytest.mark.parametrize(("change", "how"), EACH_WAY)
def test_the_command_stopped_within_a_file_that_then_changes_ends_with_6_and_names_it(
    tmp_path: Path, large: tuple[bytes, bytes], change: str, how: str
) -> None:
    arguments, program, suffix = HOWS[how]
    old, new = (PACK[suffix](body) for body in large)
    file = tmp_path / "root" / "trial" / f"a{suffix}"
    file.parent.mkdir(parents=True)
    file.write_bytes(old)
    with started(tmp_path, *arguments, program=program, session=True, MOCKEXPORT_KERNEL="pure") as process:
        try:
            stop_within(file, process)
            CHANGES[change](file, new)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
        stdout, stderr = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, stdout) == (6, "")
    assert stderr.count("\n") == 1
    assert f"root/trial/a{suffix} " in stderr
    assert re.search("changed|removed", stderr)
    assert not list((tmp_path / "kept" / "trial").glob("*.csv"))
