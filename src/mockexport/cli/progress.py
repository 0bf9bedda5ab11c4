"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mockexport.cli.terminal import print_line, printable

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Mapping, Sequence

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from mockexport.cli.terminal import Terminal
    from mockexport.heartrate import OnSending, Sent
    from mockexport.model import Download
    from mockexport.pipeline import OnProgress, ProgressCounters, Split

__all__ = ["Bar", "Progress", "download_progress", "sending_progress"]

SHOW_AFTER_SECONDS = 1.0
LINE_SECONDS = 5.0  # between two plain lines
NAME_WIDTH = 18
TEXT_WIDTH = 70  # of everything next to a bar, and of the ^C that a terminal echoes: a line must not wrap
OVERALL = "overall"  # the key of the bar that sums up the others


@contextmanager
def download_progress(terminal: Terminal, export: str) -> Generator[OnProgress | None, None, None]:
    """Give the function that `count` and `fetch` report their progress to; None if no progress is wanted."""
    if not terminal.shows_progress:
        yield None
        return
    with Progress("rows", animated=terminal.animated) as progress:

        def show(downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
            if progress.is_due():
                progress.show(download_bars(export, downloads, counters))

        yield show


@contextmanager
def sending_progress(
    terminal: Terminal, readings: int | None, seconds: float | None
) -> Generator[OnSending | None, None, None]:
    """Give the function that `send` reports its progress to; None if no progress is wanted.

    Progress is the share of the `readings`, or of the `seconds`, whichever is further; None is no limit.
    """
    if not terminal.shows_progress:
        yield None
        return
    with Progress("readings", animated=terminal.animated) as progress:

        def show(sent: Sent) -> None:
            if progress.is_due():
                shares = [sent.sent / readings] if readings else []
                shares += [progress.seconds() / seconds] if seconds else []
                progress.show({OVERALL: sending_bar(sent, max(shares, default=0.0))})

        yield show


class Bar(NamedTuple):
    """One bar: `done` of `total` in any unit (None: unknown), and the rows or readings processed so far."""

    name: str
    done: float
    total: float | None
    processed: int
    retries: int
    details: tuple[str, ...] = ()  # shown in plain lines


def download_bars(
    export: str, downloads: Sequence[Download | Split], counters: ProgressCounters
) -> dict[Hashable, Bar]:
    """Return the bar of the export, and one for each download in progress.

    Progress is measured in rows if every download declares them, else in bytes if every size is known.
    """
    rows, sizes = [download.rows for download in downloads], [download.size for download in downloads]
    amounts, measure = (sizes, counters.bytes) if None in rows and None not in sizes else (rows, counters.rows)
    total = None if None in amounts else sum(filter(None, amounts))
    bars: dict[Hashable, Bar] = {
        OVERALL: Bar(
            name=export,
            done=measure(None),
            total=total,
            processed=counters.rows(),
            retries=counters.retries(),
            details=(f"{counters.finished()} of {len(downloads)} {noun(downloads)}",),
        )
    }
    for number in counters.running():
        name = f"  {downloads[number].id}"
        bars[number] = Bar(name, measure(number), amounts[number], counters.rows(number), counters.retries(number))
    return bars


def noun(downloads: Sequence[Download | Split]) -> str:
    """Return what to call these: large downloads are counted in splits."""
    from mockexport.pipeline import Split

    return "splits" if any(isinstance(download, Split) for download in downloads) else "downloads"


def sending_bar(sent: Sent, share: float) -> Bar:
    """Return the bar of readings that are being sent."""
    rejected = (f"{sent.rejected:,} rejected",) if sent.rejected else ()
    return Bar("sending", min(1.0, share), 1.0, sent.sent, sent.tried_again, rejected)


class Progress:
    """Shows bars on a terminal (`animated`), else a plain line every five seconds; nothing in the first second.

    `unit` is what is processed: "rows" or "readings". Use it in a `with`.
    """

    def __init__(self, unit: str, *, animated: bool) -> None:
        self._unit = unit
        self._animated = animated
        self._started = time.monotonic()
        self._next = self._started + SHOW_AFTER_SECONDS
        self._display: RichProgress | None = None
        self._tasks: dict[Hashable, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._display:
            self._display.stop()

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started

    def is_due(self) -> bool:
        """Tell whether it is time to show progress; if not, `show` need not be called."""
        return time.monotonic() >= self._next

    def show(self, bars: Mapping[Hashable, Bar]) -> None:
        """Show these bars, the one of `OVERALL` first; in a plain line, that one alone."""
        if self._animated:
            self._draw(bars)
        else:
            self._next = time.monotonic() + LINE_SECONDS
            print_line(f"mockexport: {plain_line(bars[OVERALL], self._unit, self.seconds())}")

    def _draw(self, bars: Mapping[Hashable, Bar]) -> None:
        if self._display is None:
            self._display = new_display(self._unit)
            self._display.start()
        for key in self._tasks.keys() - bars.keys():
            self._display.remove_task(self._tasks.pop(key))
        for key, bar in bars.items():
            if key not in self._tasks:
                since = self._started if key == OVERALL else time.monotonic()
                name = printable(bar.name)[:NAME_WIDTH]
                self._tasks[key] = self._display.add_task(name, total=bar.total, processed=0, retries="", since=since)
            retries = f"↻{bar.retries}" if bar.retries else ""
            self._display.update(self._tasks[key], completed=bar.done, processed=bar.processed, retries=retries)
        self._display.refresh()


def plain_line(bar: Bar, unit: str, seconds: float) -> str:
    """Return progress after so many seconds as one line, for logs."""
    parts = [f"{bar.processed:,} {unit}", speed(bar.processed / seconds, unit), *bar.details]
    if bar.retries:
        parts.append(f"{bar.retries} retries")
    if bar.total and bar.done:
        left = timedelta(seconds=round(seconds / bar.done * max(0, bar.total - bar.done)))
        parts = [f"{bar.done / bar.total:.0%}", *parts, f"{left} left"]
    return f"{bar.name}: {', '.join(parts)}"


def speed(per_second: float, unit: str) -> str:
    """Return a speed such as "1.5 M rows/s"."""
    millions = per_second / 1e6
    return f"{millions:.1f} M {unit}/s" if millions >= 1 else f"{millions * 1000:.1f} k {unit}/s"


def new_display(unit: str) -> RichProgress:
    """Return rich's display of bars, not started."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class SpeedColumn(ProgressColumn):
        """Rows or readings per second since the task began."""

        def render(self, task: Task) -> Text:
            seconds = time.monotonic() - task.fields["since"]
            text = speed(task.fields["processed"] / seconds, unit) if seconds else ""
            return Text(text, style="cyan", justify="right")

    console = Console(stderr=True)
    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=max(5, min(40, console.width - TEXT_WIDTH))),
        TaskProgressColumn(),
        TextColumn("{task.fields[processed]:>13,} " + unit, markup=False),
        SpeedColumn(),
        TextColumn("[yellow]{task.fields[retries]}"),
        TimeRemainingColumn(compact=True),
    ]
    return RichProgress(*columns, console=console, auto_refresh=False, transient=True)
