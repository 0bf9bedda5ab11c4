"""How the command behaves among others: pipes, signals, terminals."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.cli.terminals import on_a_terminal
from tests.commands import serve_command
from tests.pairing import by_default, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IN_PROCESSES = {"MOCKEXPORT_KERNEL": "pure"}  # with more than one job


@pytest.fixture(scope="module")
def slow_server() -> Iterator[str]:
    """The URL of a server whose bodies take their time: those of demo two seconds, those of small minutes."""
    with serve_command("--faults", "data:slow=200000") as server:
        yield server.url


def wait_for_line(stream: Any, text: str) -> str:
    """Read lines until one holds the text."""
    for line in stream:
        if text in line:
            return str(line)
    raise AssertionError(f"the stream ended without {text!r}")


@pytest.mark.parametrize(
    "line",
    by_default(
        ["count demo", "exports list", "count demo --format table", "--help", "--version"],
        *("count demo", "--help", "--version"),
    ),
)
def test_a_closed_pipe_ends_quietly(line: str, start: Any) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(*line.split(), stdout=write)
    os.close(write)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")


def test_a_reader_that_stops_after_a_line_is_no_error(workplace: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {COMMAND} downloads list large | head -1"],
        cwd=workplace, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


@pytest.mark.gate
@pytest.mark.parametrize(
    ("sent", "jobs"),
    pairs(
        {
            "SIGINT": (signal.SIGINT, 130, "interrupted"),
            "SIGTERM": (signal.SIGTERM, 143, "terminated"),
            "SIGHUP": (signal.SIGHUP, 143, "terminated"),
        },
        {"2 jobs": "2", "1 job": "1"},
    ),
)
def test_a_signal_leaves_one_line_and_no_file(
    sent: tuple[signal.Signals, int, str], jobs: str, start: Any, workplace: Path, slow_server: str
) -> None:
    number, code, word = sent
    options = ("--progress", "-j", jobs, "-o", "small.json")
    process = start("count", "small", "-s", slow_server, *options, env=IN_PROCESSES)
    wait_for_line(process.stderr, "rows/s")  # the count is under way
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (code, "")
    assert [line for line in stderr.splitlines() if "rows/s" not in line] == [f"mockexport: error: {word}"]
    assert list(workplace.iterdir()) == []


@pytest.mark.gate
@pytest.mark.parametrize("line", by_default(["reconcile small", "stats small"], "reconcile small"))
@pytest.mark.parametrize("sent", by_default([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], signal.SIGHUP))
def test_a_signal_leaves_no_temporary_files(
    line: str, sent: signal.Signals, start: Any, tmp_path: Path, slow_server: str
) -> None:
    """A terminal that is closed sends SIGHUP twice: itself, and by the shell in it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = start(*line.split(), "-s", slow_server, "--progress", env={"TMPDIR": str(temporary)})
    wait_for_line(process.stderr, "rows/s")
    if line.startswith("reconcile"):
        assert list(temporary.iterdir())
    for _ in range(2 if sent == signal.SIGHUP else 1):
        process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode == (130 if sent == signal.SIGINT else 143)
    assert list(temporary.iterdir()) == []


@pytest.mark.gate
def test_a_run_under_nohup_outlives_its_terminal(start: Any, slow_server: str) -> None:
    process = start("count", "demo", "-s", slow_server, "--progress", preexec_fn=ignore_hangup)
    wait_for_line(process.stderr, "rows/s")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


def ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.gate
def test_an_interrupted_fetch_leaves_no_file_that_could_be_taken_for_whole(
    start: Any, workplace: Path, slow_server: str
) -> None:
    process = start("downloads", "fetch", "small", "-s", slow_server, "--dir", "kept", "--progress")
    wait_for_line(process.stderr, "rows/s")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    counted = subprocess.run(
        [COMMAND, "count", "small", "-s", "kept"], cwd=workplace, env=environment(), capture_output=True, check=False
    )
    assert counted.returncode == 6


def test_without_a_terminal_there_is_no_progress_and_no_colour(start: Any) -> None:
    stdout, stderr = start("count", "demo", "--format", "table").communicate(timeout=60)
    assert "\x1b" not in stdout + stderr
    assert stderr == ""


@pytest.mark.gate
def test_on_a_terminal_the_table_is_coloured_and_progress_is_drawn_and_taken_away(
    workplace: Path, slow_server: str
) -> None:
    code, shown = on_a_terminal(workplace, "count", "demo", "-s", slow_server, "--format", "table")
    assert code == 0
    assert "rows/s" in shown
    assert "\x1b[2K" in shown  # lines of progress are wiped
    assert "\x1b[38;5;" in shown


@pytest.mark.gate
def test_a_person_who_names_no_source_is_told_once_that_the_data_are_generated(workplace: Path) -> None:
    told = "this is generated data; --source names a folder or a server"
    assert on_a_terminal(workplace, "count", "demo")[1].count(told) == 1
    changes: Any
    for options, changes in (("-q",), {}), (("-s", "mock"), {}), ((), {"MOCKEXPORT_SOURCE": "mock"}):
        assert told not in on_a_terminal(workplace, "count", "demo", *options, **changes)[1]


@pytest.mark.parametrize("change", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_dumb_terminals_get_no_colour(change: Any, workplace: Path) -> None:
    code, shown = on_a_terminal(workplace, "count", "demo", "--format", "table", **change)
    assert code == 0
    assert "\x1b[3" not in shown
    assert "\x1b[1;3" not in shown


@pytest.mark.gate
@pytest.mark.parametrize("option", by_default(["--no-progress", "--quiet"], "--no-progress"))
def test_progress_can_be_had_without(option: str, workplace: Path, slow_server: str) -> None:
    code, shown = on_a_terminal(workplace, "count", "demo", "-s", slow_server, option)
    assert code == 0
    assert "rows/s" not in shown
    assert "\x1b" not in shown


def test_short_work_shows_no_progress(workplace: Path) -> None:
    code, shown = on_a_terminal(workplace, "count", "demo")
    assert code == 0
    assert "rows/s" not in shown
