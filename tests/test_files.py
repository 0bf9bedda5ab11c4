"""Files on disk: whole, locked, nothing of a killed run left over, and no planted link followed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mockexport.cli.output import write_output
from mockexport.errors import UsageError
from mockexport.files import locked, make_folder, open_locked, write_atomically, write_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

fcntl = pytest.importorskip("fcntl", reason="files are locked where the system can")

# A run that ends, or stops, in the middle of writing an answer: when its temporary file is to be put on disk.
WRITES = """
import os, signal, sys
from pathlib import Path
from mockexport.cli.output import write_output
sync = os.fsync
def signalled(descriptor):
    os.fsync = sync
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    sync(descriptor)
os.fsync = signalled
write_output(b"theirs", Path(sys.argv[1]))
"""


def writing(path: Path, sent: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITES, str(path), sent.name])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- Temporary files ----


def test_what_a_killed_run_left_of_an_answer_is_removed_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for _ in range(2):
        with writing(path, signal.SIGKILL) as killed:
            assert killed.wait(60) == -signal.SIGKILL
    assert len(names_in(tmp_path)) > 0
    write_output(b"ours", path)
    assert names_in(tmp_path) == ["a.json"]
    assert path.read_bytes() == b"ours"


def test_so_it_is_where_the_answer_is_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "a.json"
    link.symlink_to("far/b.json")
    with writing(link, signal.SIGKILL) as killed:
        killed.wait(60)
    write_output(b"ours", link)
    assert names_in(tmp_path / "far") == ["b.json"]


def test_what_a_run_that_still_lives_is_writing_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with writing(path, signal.SIGSTOP) as stopped:
        os.waitpid(stopped.pid, os.WUNTRACED)
        (theirs,) = names_in(tmp_path)
        write_output(b"ours", path)
        assert names_in(tmp_path) == sorted([theirs, "a.json"])
        stopped.send_signal(signal.SIGCONT)
        assert stopped.wait(60) == 0
    assert names_in(tmp_path) == ["a.json"]
    assert path.read_bytes() == b"theirs"


OTHERS = [
    ".b.json.0123456789abcdef.tmp",
    ".a.json.tmp",
    ".a.json.0123456789abcdef.tmp.tmp",
    ".a.json.0123456789ABCDEF.tmp",
    "a.json.0123456789abcdef.tmp",
    ".a.json.012345.tmp",
    "Xa.json.0123456789abcdef.tmp",
]


def test_nobody_elses_files_are_removed(tmp_path: Path) -> None:
    for name in OTHERS:
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / ".a.json.00000000000000ff.tmp").mkdir()
    write_output(b"ours", tmp_path / "a.json")
    assert names_in(tmp_path) == sorted([*OTHERS, "a.json", ".a.json.00000000000000ff.tmp"])


def test_no_two_temporary_files_have_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.extend(name for name in names_in(tmp_path) if name.endswith(".tmp"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    for _ in range(20):
        write_atomically(tmp_path / "a.json", b"ours")
    assert len(set(seen)) == len(seen) == 20


def test_a_temporary_file_is_its_owners_alone_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.touch(mode=0o600)
    modes: list[int] = []
    opened = os.open

    def look(name: Any, flags: int, *rest: Any, **more: Any) -> int:
        descriptor = opened(name, flags, *rest, **more)
        if flags & os.O_EXCL:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", look)
    write_atomically(path, b"secret")
    assert modes == [0o600]


def test_one_that_a_run_that_tidies_up_took_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    removed: list[str] = []

    def lock(descriptor: int, operation: int) -> None:
        if not removed:
            (temporary,) = tmp_path.iterdir()
            temporary.unlink()
            removed.append(temporary.name)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    write_atomically(tmp_path / "a.json", b"ours")
    assert removed
    assert names_in(tmp_path) == ["a.json"]


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock(_descriptor: int, _operation: int) -> None:
        raise OSError(38, "Function not implemented")

    (tmp_path / ".a.json.0123456789abcdef.tmp").touch()
    monkeypatch.setattr(fcntl, "flock", lock)
    write_output(b"ours", tmp_path / "a.json")
    assert names_in(tmp_path) == [".a.json.0123456789abcdef.tmp", "a.json"]  # who knows whether that run still lives?


# ---- New files ----


def test_a_new_file_is_whole_at_once_and_one_that_is_there_is_left(tmp_path: Path) -> None:
    assert write_new(tmp_path / "a.json", b"ours")
    assert not write_new(tmp_path / "a.json", b"others")
    assert (tmp_path / "a.json").read_bytes() == b"ours"
    assert names_in(tmp_path) == ["a.json"]


def test_a_file_system_without_hard_links_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_names: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UsageError, match=r"hard link at .*a\.json: Operation not permitted; choose a file system"):
        write_new(tmp_path / "a.json", b"ours")
    assert names_in(tmp_path) == []


# ---- Links ----


def test_a_planted_link_is_replaced_where_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name, leads_to in (("there", "victim"), ("nowhere", "missing")):
        (tmp_path / name).symlink_to(leads_to)
        write_atomically(tmp_path / name, b"ours", follow_link=False)
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"ours"
    assert victim.read_bytes() == b"precious"
    assert names_in(tmp_path) == ["nowhere", "there", "victim"]


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("leads_to", ["victim", "missing"])
def test_a_file_to_be_locked_is_never_a_link(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "lock").symlink_to(leads_to)
    with pytest.raises(OSError, match="a symbolic link, which is not followed"):
        open_locked(tmp_path / "lock", "busy")
    with (
        pytest.raises(UsageError, match=r"write .*lock: it is a symbolic link"),
        locked(tmp_path / "lock", "busy"),
    ):
        pass
    assert names_in(tmp_path) == ["lock", "victim"]
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("make", [pipe, os.mkdir])
def test_what_is_not_a_file_is_neither_locked_nor_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    with pytest.raises(OSError):  # noqa: PT011 - a folder's is the system's own
        open_locked(tmp_path / "a", "busy")


# ---- Locks ----


@pytest.mark.parametrize("how", ["renamed", "removed"])
def test_a_file_that_goes_away_between_opening_and_locking_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path, finished = tmp_path / "part", tmp_path / "finished"
    path.write_bytes(b"all of it")
    flock = fcntl.flock

    def lock(descriptor: int, operation: int) -> None:
        if path.exists() and not finished.exists():
            path.rename(finished) if how == "renamed" else path.unlink()
            finished.touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    with open_locked(path, "busy") as file:
        file.truncate(0)
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())
    assert finished.read_bytes() == (b"all of it" if how == "renamed" else b"")


def test_a_lock_keeps_others_out_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()  # a killed run left it
    for _ in range(2):
        with locked(path, "busy"):
            with pytest.raises(UsageError, match="busy"), locked(path, "busy"):
                pass
            assert path.exists()
        assert names_in(tmp_path) == []


# ---- Folders ----


def test_each_folder_that_is_made_is_put_on_disk_with_its_name_in_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    deep = tmp_path / "a" / "b" / "c"
    make_folder(deep)
    assert {path.stat().st_ino for path in (tmp_path, *deep.parents[:2], deep)} <= set(synced)
    synced.clear()
    make_folder(deep)  # it may have been made by a run that was killed before it could
    assert deep.parent.stat().st_ino in synced


@pytest.mark.parametrize("name", ["file", "file/deeper", "link"])
def test_where_no_folder_can_be_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError):  # noqa: PT011 - the system's own
        make_folder(tmp_path / name)
