"""How the answers get to stdout or to a file: whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mockexport.cli.output import check_writable, write_output
from mockexport.errors import UsageError
from mockexport.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = Path("/dev/full")

needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, text=True, timeout=60, check=False, **{"stderr": subprocess.PIPE, **options})  # type: ignore[call-overload,no-any-return]


# ---- Files ----


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new.json", b"new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "new.json").read_bytes() == b"new"
    assert (tmp_path / "new.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old and longer")
    path.chmod(mode)
    before = path.stat().st_ino
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one_and_nothing_between(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    whole = {bytes([letter]) * 300_000 for letter in b"abc"}
    write_atomically(path, b"a" * 300_000)
    written = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not written.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for data in sorted(whole) * 10:
        write_atomically(path, data)
    written.set()
    reader.join()
    assert seen <= whole


TOO_LARGE = """
import resource, sys
from pathlib import Path
from mockexport.errors import UsageError
from mockexport.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 1_000_000)
except UsageError as error:
    print(error)
"""


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    done = run_python(TOO_LARGE, path, stdout=subprocess.PIPE)
    assert done.stdout == f"cannot write {path}: File too large\n"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "a.json"
    target.write_bytes(b"old")
    for name, leads_to in (("absolute", target), ("relative", Path("far/a.json")), ("new", Path("far/new.json"))):
        link = tmp_path / name
        link.symlink_to(leads_to)
        write_atomically(link, name.encode())
        assert link.is_symlink()
        assert (tmp_path / leads_to).read_bytes() == name.encode()
    assert sorted(file.name for file in (tmp_path / "far").iterdir()) == ["a.json", "new.json"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"answer")
    reader.join(30)
    assert received == [b"answer"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_to_and_stays_a_device() -> None:
    write_atomically(Path(os.devnull), b"answer")
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout here")
def test_a_pipe_that_is_reached_through_dev_stdout_is_written_to() -> None:
    code = """
from pathlib import Path
from mockexport.files import write_atomically
from mockexport.cli.output import check_writable
check_writable(Path("/dev/stdout"))
write_atomically(Path("/dev/stdout"), b"answer")
"""
    done = run_python(code, stdout=subprocess.PIPE)
    assert (done.stdout, done.stderr, done.returncode) == ("answer", "", 0)


@needs_full_device
def test_a_full_device_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot write /dev/full: No space left on device"):
        write_atomically(FULL, b"x" * 100_000)


def a_folder(path: Path) -> Path:
    path.mkdir()
    return path


def a_path_through_a_file(path: Path) -> Path:
    path.touch()
    return path / "a.json"


def a_loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


BAD_PLACES = [
    a_folder,
    a_path_through_a_file,
    a_loop,
    lambda path: path / "missing" / "a.json",
    lambda p: p / ("a" * 300),
]


@pytest.mark.parametrize("bad_place", BAD_PLACES)
def test_a_place_that_can_not_be_written_is_a_usage_error_before_and_after_the_work(
    tmp_path: Path, bad_place: Callable[[Path], Path]
) -> None:
    path = bad_place(tmp_path / "place")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        check_writable(path)
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(path, b"answer")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_goes_away_during_the_work_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    path.parent.mkdir()
    check_writable(path)
    path.parent.rmdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_atomically(path, b"answer")


def test_a_place_that_can_be_written_is_let_through_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(b"old")
    (tmp_path / "link").symlink_to("dangling.json")
    for name in ("new.json", "old.json", "link"):
        check_writable(tmp_path / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "old.json"]
    assert (tmp_path / "old.json").read_bytes() == b"old"


def test_whoever_may_not_write_into_its_folder_may_still_write_to_a_device() -> None:
    code = """
import os
from pathlib import Path
from mockexport.errors import UsageError
from mockexport.cli.output import check_writable
if os.geteuid() == 0:
    os.setuid(65534)
check_writable(Path(os.devnull))
try:
    check_writable(Path("/mockexport-test.json"))
except UsageError as error:
    print(error)
"""
    done = run_python(code, stdout=subprocess.PIPE)
    assert done.stderr == ""
    assert "cannot be written" in done.stdout


# ---- Stdout ----

WRITE = """
import sys
from pathlib import Path
from mockexport.errors import UsageError
from mockexport.cli.output import write_output
try:
    write_output(b"x" * 1_000_000, None)
except UsageError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("path", [None, Path("-")])
def test_an_answer_goes_to_stdout_behind_what_was_printed(
    path: Path | None, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    print("before")
    write_output(b"answer\n", path)
    assert capfdbinary.readouterr().out == b"before\nanswer\n"


def test_an_answer_goes_to_a_file_when_there_is_one(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_output(b"answer\n", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b"answer\n"
    assert capfdbinary.readouterr().out == b""


def test_a_reader_of_stdout_that_has_gone_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_python(WRITE, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@needs_full_device
def test_a_full_disk_behind_stdout_is_a_usage_error_and_one_line() -> None:
    with FULL.open("wb") as full:
        done = run_python(WRITE, stdout=full)
    assert (done.returncode, done.stderr) == (1, "cannot write to stdout: No space left on device\n")
