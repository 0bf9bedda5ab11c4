"""Files of odd kinds and names in a folder of exports, by the real command: never a wait, never a bug."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from tests.bodies import PLAIN
from tests.cli.conftest import COMMAND, environment, write_export
from tests.commands import Ended, run_command, serve_command
from tests.files import PACK, source_of
from tests.pairing import by_default, pairs
from tests.sources import WAIT_SECONDS

from mockexport import Download, UntrustedDataError, count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs and no such names")


def link_to_fifo(path: Path) -> None:
    os.mkfifo(path.with_name(".fifo"))
    path.symlink_to(".fifo")


ODD: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a link to a FIFO": link_to_fifo,
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to an empty device": lambda path: path.symlink_to("/dev/null"),
}
EACH_ODD = pytest.mark.parametrize("make", ODD.values(), ids=ODD)


# ---- What is not a regular file ----


@pytest.mark.parametrize("suffix", PACK)
@EACH_ODD
def test_what_is_called_like_a_csv_file_and_is_none_is_an_error_and_no_wait(
    export: Path, suffix: str, make: Callable[[Path], object]
) -> None:
    make(export / f"a{suffix}")
    for ask in (
        lambda: count(source_of(export), "trial"),
        lambda: source_of(export).downloads("trial"),
        lambda: next(source_of(export).open(Download("trial", "a"))),
    ):
        with pytest.raises(UntrustedDataError, match=rf"a\{suffix} is not a regular file"):
            ask()


@EACH_ODD
def test_a_file_that_became_a_fifo_since_it_was_listed_is_an_error_and_no_wait(
    export: Path, make: Callable[[Path], object]
) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    source = source_of(export)
    (download,) = source.downloads("trial")
    (export / "a.csv").unlink()
    make(export / "a.csv")
    with pytest.raises(UntrustedDataError, match=r"a\.csv is not a regular file"):
        next(source.open(download))


@EACH_ODD
def test_a_file_in_a_manifest_that_is_none_is_an_error_and_no_wait(
    export: Path, make: Callable[[Path], object]
) -> None:
    make(export / "a.csv")
    (export / "manifest.json").write_bytes(b'{"export": "trial", "downloads": [{"id": "x", "file": "a.csv"}]}')
    with pytest.raises(UntrustedDataError, match=r"a\.csv is not a regular file"):
        count(source_of(export), "trial")


COMMANDS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "a download": ("root/trial/b.csv", ("count", "trial", "-s", "root"), 6),
    "a manifest": ("root/trial/manifest.json", ("count", "trial", "-s", "root"), 6),
    "a manifest in a list": ("root/trial/manifest.json", ("exports", "list", "-s", "root"), 6),
    "a manifest where files are kept": ("kept/demo/manifest.json", ("downloads", "fetch", "demo", "--dir", "kept"), 6),
    "a token": ("token", ("count", "-s", "http://127.0.0.1:9", "--token-file", "token"), 2),
    "a checkpoint": ("kept", ("count", "--checkpoint", "kept"), 2),
    "a committed result": ("trial.json", ("verify", "trial.json", "-s", "root"), 3),
    "a committed result in a folder": ("results/trial.json", ("verify", "results", "-s", "root"), 6),
}


TRIED = ("a FIFO", "a link to an endless device")


@pytest.mark.parametrize(
    ("odd", "what"), pairs(dict(zip(TRIED, TRIED, strict=True)), dict(zip(COMMANDS, COMMANDS, strict=True)))
)
def test_the_command_waits_for_no_fifo_and_no_device(tmp_path: Path, what: str, odd: str) -> None:
    name, arguments, code = COMMANDS[what]
    write_export(tmp_path / "root", "trial", a=PLAIN)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    ODD[odd](tmp_path / name)
    ended = run_command(tmp_path, *arguments)
    assert ended.code == code
    assert name.rpartition("/")[2] in ended.stderr
    assert ended.stderr.count("\n") == 1


# ---- What may not be read ----


def without_privileges(folder: Path, *arguments: str) -> Ended:
    """Run the command as one who must keep to the permissions of files: not as root is used to."""
    confined: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may read all, and there is no setpriv to run the command with less")
        confined = [setpriv, "--bounding-set", "-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*confined, COMMAND, *arguments],
        cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=WAIT_SECONDS,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def with_lost_and_found(tmp_path: Path) -> Path:
    """A folder like the root of a file system, in which one folder is closed to us."""
    root = write_export(tmp_path / "root", "trial", a=PLAIN)
    (root / "lost+found").mkdir(mode=0)
    (root / "leads-in").symlink_to("lost+found/deeper")
    return tmp_path


def test_a_folder_with_an_unreadable_sibling_counts_its_other_exports(with_lost_and_found: Path) -> None:
    ended = without_privileges(with_lost_and_found, "count", "trial", "-s", "root")
    assert (ended.code, ended.stderr) == (0, "")
    assert orjson.loads(ended.stdout)["totals"] == {"bp_dia": 1, "bp_sys": 2}


def test_a_list_of_exports_tells_of_the_folder_that_can_not_be_read(with_lost_and_found: Path) -> None:
    ended = without_privileges(with_lost_and_found, "exports", "list", "-s", "root")
    assert [export["id"] for export in orjson.loads(ended.stdout)] == ["trial"]
    assert sorted(ended.stderr.splitlines()) == [
        "mockexport: passed over root/leads-in: Permission denied",
        "mockexport: passed over root/lost+found: Permission denied",
    ]
    assert ended.code == 0
    assert without_privileges(with_lost_and_found, "exports", "list", "-s", "root", "-q").stderr == ""


def test_an_export_that_can_not_be_read_is_an_error_that_says_why(with_lost_and_found: Path) -> None:
    ended = without_privileges(with_lost_and_found, "count", "lost+found", "-s", "root")
    assert (ended.code, ended.stdout) == (5, "")
    assert ended.stderr == "mockexport: error: cannot read root/lost+found: Permission denied\n"


def test_a_file_that_can_not_be_read_is_an_error_and_no_smaller_count(tmp_path: Path) -> None:
    root = write_export(tmp_path / "root", "trial", a=PLAIN, b=PLAIN)
    (root / "trial" / "b.csv").chmod(0)
    ended = without_privileges(tmp_path, "count", "trial", "-s", "root")
    assert (ended.code, ended.stdout) == (5, "")
    assert ended.stderr == "mockexport: error: cannot read root/trial/b.csv: Permission denied\n"


# ---- Names that are not UTF-8 ----

EXPORT = b"caf\xe9".decode(errors="surrogateescape")
DAY = b"day-\xff".decode(errors="surrogateescape")


@pytest.fixture
def oddly_named(tmp_path: Path) -> Path:
    """A folder with an export and a download whose names are Latin-1, and a sound one beside."""
    if sys.platform == "darwin":
        pytest.skip("macOS has no names that are not UTF-8")
    write_export(tmp_path / "root", EXPORT, **{DAY: PLAIN})
    write_export(tmp_path / "root", "trial", a=PLAIN)
    return tmp_path


@pytest.mark.parametrize("form", by_default(["json", "csv", "table"], "json", "table"))
def test_lists_show_names_that_are_not_utf8(oddly_named: Path, form: str) -> None:
    ended = run_command(oddly_named, "exports", "list", "-s", "root", "--format", form)
    assert (ended.code, ended.stderr) == (0, "")
    assert r"caf\udce9" in ended.stdout.replace("\\\\", "\\")
    assert "trial" in ended.stdout
    ended = run_command(oddly_named, "downloads", "list", EXPORT, "-s", "root", "--format", form, "-o", f"{DAY}.out")
    assert (ended.code, ended.stderr) == (0, "")
    assert rb"day-\udcff" in (oddly_named / f"{DAY}.out").read_bytes().replace(b"\\\\", b"\\")


@pytest.mark.parametrize(
    ("form", "jobs"), pairs({form: form for form in ("json", "csv", "table")}, {jobs: jobs for jobs in "12"})
)
def test_an_export_whose_names_are_not_utf8_is_counted(oddly_named: Path, form: str, jobs: str) -> None:
    for kernel in ("auto", "pure"):  # threads, and processes
        ended = run_command(
            oddly_named, "count", EXPORT, "-s", "root", "--format", form, "-j", jobs, "-v", MOCKEXPORT_KERNEL=kernel
        )
        assert ended.code == 0
        assert "bp_sys" in ended.stdout


def test_a_source_whose_name_is_not_utf8_is_counted_and_named_in_errors(oddly_named: Path) -> None:
    (oddly_named / "root").rename(oddly_named / EXPORT)
    assert run_command(oddly_named, "count", "trial", "-s", EXPORT).code == 0
    ended = run_command(oddly_named, "count", "trail", "-s", EXPORT)
    assert (ended.code, ended.stdout) == (3, "")
    assert r"caf\udce9" in ended.stderr


@pytest.mark.gate
def test_errors_name_files_that_are_not_utf8(oddly_named: Path) -> None:
    odd = oddly_named / "root" / EXPORT / f"{DAY}.csv"
    odd.write_bytes(PLAIN + b"too,few\n")
    for arguments, code in (
        (("count", EXPORT, "-s", "root"), 6),
        (("count", "-s", DAY), 3),
        (("count", DAY, "-s", "root"), 3),
        (("downloads", "fetch", EXPORT, "-s", "root", "--dir", "kept"), 6),
        (("verify", f"{DAY}.json"), 3),
        (("count", "-o", f"{DAY}/x"), 2),
    ):
        ended = run_command(oddly_named, *arguments)
        assert (ended.code, ended.stdout) == (code, "")
        assert ended.stderr.count("\n") == 1
        assert r"\udc" in ended.stderr


def test_a_committed_result_whose_name_is_not_utf8_is_compared(oddly_named: Path) -> None:
    counted = run_command(oddly_named, "count", EXPORT, "-s", "root", "-o", f"{EXPORT}.json")
    assert counted.code == 0
    for form in ("json", "csv", "table"):
        ended = run_command(oddly_named, "verify", f"{EXPORT}.json", "-s", "root", "--format", form)
        assert ended.code == 0
        assert r"caf\udce9" in ended.stdout.replace("\\\\", "\\")


@pytest.mark.gate
def test_a_download_whose_name_is_not_utf8_is_served_and_an_error_that_names_it_is_told(
    oddly_named: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    odd = oddly_named / "root" / "trial" / f"{DAY}.csv"
    odd.write_bytes(PLAIN)
    with serve_command("-s", oddly_named / "root") as server:
        ended = run_command(oddly_named, "count", "trial", "-s", server.url)
        assert (ended.code, ended.stderr) == (0, "")
        assert orjson.loads(ended.stdout)["totals"] == {"bp_dia": 2, "bp_sys": 4}
        odd.with_suffix(".csv.gz").write_bytes(PACK[".csv.gz"](PLAIN))
        asked = partial(httpx.get, f"{server.url}/api/export/trial", timeout=WAIT_SECONDS)
        eventually(lambda: asked().status_code != 200)  # a list holds for a second
        answer = asked()
        assert answer.status_code == 502
        assert r"day-\udcff.csv.gz and day-\udcff.csv hold the same download" in answer.json()["detail"]
