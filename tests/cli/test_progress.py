"""Progress: what bars and lines say of downloads and of readings that are sent."""

from __future__ import annotations

import time

import pytest

from mockexport import Download, ProgressCounters
from mockexport.cli.progress import OVERALL, Bar, Progress, download_bars, download_progress, plain_line
from mockexport.cli.terminal import Terminal


def counters_of(*tasks: tuple[int, int]) -> ProgressCounters:
    """The counters of running tasks, with the rows and bytes of each."""
    counters = ProgressCounters(len(tasks))
    for number, (rows, size) in enumerate(tasks):
        counters.advance(number, rows, size)
    return counters


def download(name: str, rows: int | None, size: int | None) -> Download:
    return Download("trial", name, rows=rows, size=size)


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
        (Bar("demo", 0, 100, 0, 0), "demo: 0 rows, 0.0 k rows/s"),
    ],
)
def test_a_line_says_it_all(bar: Bar, line: str) -> None:
    assert plain_line(bar, "rows", 2.0) == line


def test_lines_come_after_a_second_and_then_every_five(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 100.9, 101.0, 101.0, 101.0, 105.9, 106.0, 106.0, 106.0])  # three looks for each line
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with Progress("readings", animated=False) as shown:
        for _ in range(4):
            if shown.is_due():
                shown.show({OVERALL: Bar("sending", 0.5, 1.0, 1000, 0)})
    assert capsys.readouterr().err == (
        "mockexport: sending: 50%, 1,000 readings, 1.0 k readings/s, 0:00:01 left\n"
        "mockexport: sending: 50%, 1,000 readings, 0.2 k readings/s, 0:00:06 left\n"
    )


def test_no_progress_is_no_function() -> None:
    with download_progress(Terminal(progress=False), "demo") as show:
        assert show is None
