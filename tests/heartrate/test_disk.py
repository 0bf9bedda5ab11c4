"""A disk that is full, and one whose fsync fails: refused, nothing acknowledged lost, and well again afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.synthetic import MIDNIGHT
from tests.heartrate.test_locking import driven

from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits, mounts and preloading as Linux has them")

ROWS = 500
FULL = [
    "journal.sqlite can't be written",
    "database or disk is full",
    "disk I/O error",
    "No space left",
    "File too large",
]


class Sender:
    """Posts batches through a driver, and knows how many readings were acknowledged."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self.ask, self.sent, self.kept = ask, 0, set[int]()

    def post(self) -> dict[str, Any]:
        times = [MIDNIGHT + self.sent * ROWS + row for row in range(ROWS)]
        self.sent += 1
        answer: dict[str, Any] = self.ask("post", ["user"] * ROWS, ["device"] * ROWS, times, [60.5] * ROWS)
        if "ok" in answer:
            self.kept.update(times)
        return answer

    def post_until_refused(self) -> dict[str, Any]:
        for _ in range(5000):
            answer = self.post()
            if "error" in answer:
                return answer
        raise AssertionError("never refused")

    def check(self) -> None:
        """What was refused is not there; what was acknowledged is, once."""
        assert sum(rows for _, rows in self.ask("rows")["ok"]) == len(self.kept)


def check_after(folder: Path, sender: Sender) -> None:
    with HeartRate(folder, read_only=False, flush_seconds=3600) as service:
        times = [time for day in service.days() for frame in service.rows(day) for time in frame["time"]]
    assert len(times) == len(set(times))
    assert set(times) == sender.kept


def test_a_file_that_may_not_grow_refuses_and_loses_nothing_and_takes_again_when_it_may(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with driven(folder) as ask:
        sender = Sender(ask)
        sender.post()
        ask("limit", 600_000)
        refusal = sender.post_until_refused()
        assert refusal["kind"] == "JournalError"
        assert any(reason in refusal["error"] for reason in FULL)
        assert "can't be written" in ask("problem")["ok"]
        sender.check()
        ask("limit", 0)
        assert "ok" in sender.post()
        assert ask("problem") == {"ok": None}
        assert ask("flush") == {"ok": None}
        sender.check()
    check_after(folder, sender)


@pytest.mark.gate
def test_a_table_that_may_not_grow_keeps_all_in_the_journal_and_takes_it_when_it_may(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with driven(folder) as ask:
        sender = Sender(ask)
        for _ in range(20):
            sender.post()
        ask("limit", 10_000)
        answer = ask("flush")
        assert answer["kind"] in {"UnreachableError", "JournalError"}
        sender.check()
        ask("limit", 0)
        assert ask("flush") == {"ok": None}
        sender.check()
    check_after(folder, sender)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_refuses_and_loses_nothing_and_takes_again_when_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        folder = disk / "data"
        with driven(folder) as ask:
            sender = Sender(ask)
            for _ in range(3):  # full, flushed as far as that goes, and full again
                assert sender.post_until_refused()["kind"] == "JournalError"
                ask("flush")
                sender.check()
            ballast.unlink()
            assert "ok" in sender.post()
            assert ask("flush") == {"ok": None}
            assert ask("compact") == {"ok": None}
            sender.check()
        check_after(folder, sender)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing_fsync.so"
    source = Path(__file__).with_name("failing_fsync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def test_a_failing_fsync_refuses_and_loses_nothing_and_is_well_again_when_it_works(tmp_path: Path, shim: Path) -> None:
    folder, switch = tmp_path / "data", tmp_path / "fails"
    environment = {**os.environ, "LD_PRELOAD": str(shim), "FAILING_FSYNC": str(switch)}
    with driven(folder, environment) as ask:
        sender = Sender(ask)
        for _ in range(3):
            assert "ok" in sender.post()
            switch.touch()
            for _ in range(3):
                answer = sender.post()
                assert (answer["kind"], "can't be written" in answer["error"]) == ("JournalError", True)
            assert ask("flush")["kind"] in {"UnreachableError", "JournalError"}
            assert "can't be written" in ask("problem")["ok"]
            sender.check()
            switch.unlink()
            assert "ok" in sender.post()
            assert ask("problem") == {"ok": None}
            sender.check()
            assert ask("flush") == {"ok": None}
            sender.check()
    check_after(folder, sender)
