"""Progress: what bars and lines say of downloads and of readings that are sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from mockexport import Download, ProgressCounters
from mockexport.cli.bars import Bar, Layout, Pace, condition, plain_line, size_text
from mockexport.cli.progress import OVERALL, Progress, download_bars
from mockexport.pipeline import BUSY, LOST, TaskStatus
from mockexport.pipeline.progress import RUNNING

UNITS = ["rows", "readings"]


@dataclass
class Clock:
    """The time, as the test sets it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    set_by_test = Clock()
    monkeypatch.setattr(time, "monotonic", set_by_test)
    return set_by_test


def counters_of(*tasks: tuple[int, int]) -> ProgressCounters:
    """The counters of running tasks, with the rows and bytes of each."""
    counters = ProgressCounters(len(tasks))
    for number, (rows, size) in enumerate(tasks):
        counters.advance(number, rows, size)
    return counters


def download(name: str, rows: int | None, size: int | None) -> Download:
    return Download("trial", name, rows=rows, size=size)


def pace_of(*seen: tuple[float, Bar]) -> Pace:
    pace = Pace(seen[0][0])
    for now, bar in seen:
        pace.see(now, bar)
    return pace


def rows(done: int, *, kept: int = 0, status: TaskStatus | None = None) -> Bar:
    return Bar("demo", done, 1000, done, 0, kept_done=kept, kept=kept, status=status)


@pytest.mark.parametrize(
    ("declared", "done", "total"),
    [
        ([(100, 1000), (50, 500)], 30, 150),  # rows
        ([(100, 1000), (None, 500)], 300, 1500),  # bytes: rows are not declared everywhere
        ([(100, 1000), (None, None)], 30, None),
    ],
)
def test_progress_is_measured_in_what_every_download_declares(
    declared: list[tuple[int | None, int | None]], done: int, total: int | None
) -> None:
    downloads = [download(name, *amounts) for name, amounts in zip("ab", declared, strict=True)]
    bars = download_bars("trial", downloads, counters_of((10, 100), (20, 200)))
    assert (bars[OVERALL].done, bars[OVERALL].total, bars[OVERALL].processed) == (done, total, 30)
    assert [bar.name for bar in bars.values()] == ["trial", "  a", "  b"]
    assert all(bar.total is None or bar.done <= bar.total for bar in bars.values())


def test_a_download_that_has_ended_has_no_bar_and_counts_as_ended() -> None:
    counters = counters_of((10, 100), (20, 200))
    counters.finish(0, 10)
    bars = download_bars("trial", [download("a", 10, 100), download("b", 40, 400)], counters)
    assert bars.keys() == {OVERALL, 1}
    assert bars[OVERALL].details == ("1 of 2 downloads",)


@pytest.mark.parametrize(
    ("bar", "line"),
    [
        (
            Bar("demo", 25, 100, 3_000_000, 2, ("1 of 4 downloads",)),
            "demo: 25%, 3,000,000 rows, 1.5 M rows/s, 1 of 4 downloads, 2 retries, 0:00:06 left",
        ),
        (Bar("demo", 25, None, 3000, 0), "demo: 3,000 rows, 1.5 k rows/s"),
        (Bar("demo", 0, 100, 0, 0), "demo: 0%, 0 rows, 0.0 k rows/s"),
    ],
)
def test_a_line_says_it_all(bar: Bar, line: str) -> None:
    pace = pace_of((10.0, bar._replace(done=0, processed=0)), (12.0, bar))
    assert plain_line(bar, pace, 12.0, "rows") == line


# ---- How fast it is ----


def test_the_rate_is_that_of_the_last_seconds() -> None:
    seen = [(float(second), rows(100 * min(second, 10))) for second in range(20)]
    assert pace_of(*seen[:11]).rate() == 100
    assert pace_of(*seen).rate() == 0


def test_what_was_kept_from_an_earlier_run_is_not_in_the_rate_nor_in_the_time_left() -> None:
    pace = pace_of((0.0, rows(0)), (1.0, rows(510, kept=500)))  # what is kept may come to light on the way
    assert pace.rate() == 10
    assert pace.left(1.0, rows(510, kept=500)) == "0:00:49"


def test_what_starts_over_has_no_negative_rate() -> None:
    pace = pace_of((0.0, rows(0)), (1.0, rows(500)), (2.0, rows(0)))
    assert pace.rate() == 0
    assert pace_of((0.0, rows(0)), (1.0, rows(500)), (2.0, rows(0)), (3.0, rows(7))).rate() == 7


def test_no_time_left_is_shown_while_nothing_moves() -> None:
    pace = pace_of((0.0, rows(0)), (1.0, rows(500)), (2.0, rows(500)))
    assert pace.left(2.0, rows(500)) == "0:00:02"
    pace.see(3.0, rows(500))
    assert pace.left(3.0, rows(500)) == ""


# ---- What a download does that does not simply run ----


@pytest.mark.parametrize(
    ("status", "seconds", "timeout", "told"),
    [
        (TaskStatus(BUSY, 5.0, 0), 0.0, 30.0, "server busy, next try in 5 s"),
        (TaskStatus(BUSY, 5.0, 0), 3.0, 30.0, "server busy, next try in 2 s"),
        (TaskStatus(LOST, 5.0, 0), 6.0, 30.0, "connection lost, trying again"),
        (TaskStatus(RUNNING, 0, 0), 1.0, 30.0, ""),
        (TaskStatus(RUNNING, 0, 0), 12.0, 30.0, "no data for 12 s of 30 s"),
        (TaskStatus(RUNNING, 0, 0), 12.0, None, "no data for 12 s"),
        (TaskStatus(RUNNING, 5.0, 1_200_000_000), 1.0, 30.0, "resumed at 1.2 GB"),
    ],
)
def test_a_download_says_what_it_waits_for(
    status: TaskStatus, seconds: float, timeout: float | None, told: str
) -> None:
    bar = rows(500, status=status)
    assert condition(bar, pace_of((0.0, bar)), seconds, timeout) == told


def test_that_it_was_resumed_is_said_for_some_seconds_only() -> None:
    seen = [(float(second), rows(second, status=TaskStatus(RUNNING, 0, 10**6))) for second in range(10)]
    assert condition(seen[4][1], pace_of(*seen[:5]), 4.0, 30.0) == "resumed at 1.0 MB"
    assert condition(seen[9][1], pace_of(*seen), 9.0, 30.0) == ""


def test_a_wait_counts_down_from_each_try() -> None:
    first, second = (rows(0, status=TaskStatus(BUSY, 5.0, 0))._replace(retries=retries) for retries in (1, 2))
    assert condition(second, pace_of((0.0, first), (4.0, first), (5.5, second)), 6.5, 30.0).endswith("in 4 s")


# ---- Where it stands ----


@pytest.mark.parametrize("width", [10, 40, 57, 60, 77, 80, 200])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("status", [None, TaskStatus(LOST, 1e9, 0), TaskStatus(RUNNING, 0, 10**12)])
def test_no_line_is_wider_than_the_terminal(width: int, unit: str, status: TaskStatus | None) -> None:
    slow = Bar("  a-very-long-name-of-a-download", 1, 10**12, 10**12 - 1, 999, status=status)
    line = Layout(width, unit, 999).line(slow, pace_of((0.0, slow._replace(processed=0)), (1.0, slow)), 1.0, 300.0)
    assert line.cell_len <= width


def test_at_60_columns_there_is_the_rate_and_the_time_left() -> None:
    bar = rows(500)
    line = Layout(57, "rows", 0).line(bar, pace_of((0.0, rows(0)), (1.0, bar)), 1.0, 30.0).plain
    assert line.split() == ["demo", "━━━━━━───────", "50%", "0.5", "k", "rows/s", "0:00:01"]


def test_a_download_has_a_line_of_its_own_once_it_takes_a_while(clock: Clock) -> None:
    progress = Progress("trial", "rows", "asking")
    progress.downloads([download("a", 10, 100), download("b", 40, 400)], counters_of((1, 10), (2, 20)))
    assert len(progress.lines(80, 24)) == 1
    clock.now += 1
    assert len(progress.lines(80, 24)) == 3


def test_more_downloads_than_lines_are_told_by_their_number(clock: Clock) -> None:
    progress = Progress("trial", "rows", "asking")
    progress.downloads([download(str(n), 10, 100) for n in range(50)], counters_of(*[(1, 10)] * 50))
    progress.lines(80, 10)
    clock.now += 1
    lines = progress.lines(80, 10)
    assert (len(lines), str(lines[-1])) == (10, "  and 42 more")


def test_while_a_source_is_asked_the_line_says_for_what_and_how_far(clock: Clock) -> None:
    progress = Progress("trial", "rows", "asking https://host for its downloads")
    assert progress.lines(77, 24) == ["asking https://host for its downloads"]
    progress.listing(120, 1000)
    assert progress.lines(77, 24) == ["asking https://host for its downloads, 120 of 1,000"]
    clock.now += 12
    assert progress.lines(77, 24) == ["asking https://host for its downloads, 120 of 1,000, 12 s"]
    assert progress.lines(40, 24) == ["asking https://host…, 120 of 1,000, 12 s"]
    progress.listing(1000, 1000)
    assert progress.lines(77, 24) == ["starting, 12 s"]


def test_a_log_line_says_what_is_waited_for() -> None:
    counters = counters_of((1, 10), (2, 20), (0, 0))
    counters.retry(0, 5.0, BUSY)
    counters.retry(1, 5.0, LOST)
    progress = Progress("trial", "rows", "asking")
    progress.downloads([download(name, 10, 100) for name in "abc"], counters)
    assert progress.summary() == (
        "trial: 10%, 3 rows, 0.0 k rows/s, 0 of 3 downloads, 2 retries; a: server busy, next try in 5 s, and 1 more"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (40_000_000, "40.0 MB"), (10**12, "1000.0 GB")],
)
def test_a_size_is_told_in_its_unit(size: int, text: str) -> None:
    assert size_text(size) == text
