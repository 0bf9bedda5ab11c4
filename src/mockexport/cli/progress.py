"""How far the work is: one bar over all, one a running download, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mockexport.cli.terminal import print_line, printable
from mockexport.pipeline import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress as RichProgress

    from mockexport.model import Download
    from mockexport.pipeline import ProgressCounters

__all__ = ["Progress"]

SHOW_AFTER_SECONDS = 1.0
PLAIN_LINE_SECONDS = 5.0
NAME_WIDTH = 18
TEXT_WIDTH = 70  # of all that stands beside a bar, and room for the ^C that a terminal echoes: it must not wrap


class Progress:
    """Shows progress: in rows where they are declared, else in bytes where the sizes are known."""

    def __init__(self, title: str, *, animated: bool) -> None:
        self._title = title
        self._animated = animated
        self._started = time.monotonic()
        self._next_line = self._started + SHOW_AFTER_SECONDS
        self._bars: RichProgress | None = None
        self._tasks: dict[int, Any] = {}
        self._overall: Any = None

    def update(self, downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        """Show where the work stands; nothing in the first second."""
        now = time.monotonic()
        if now - self._started < SHOW_AFTER_SECONDS:
            return
        if self._animated:
            self._draw(downloads, counters)
        elif now >= self._next_line:
            self._next_line = now + PLAIN_LINE_SECONDS
            print_line(f"mockexport: {self._title}: {plain_line(downloads, counters, now - self._started)}")

    def close(self) -> None:
        """Take the bars away."""
        if self._bars:
            self._bars.stop()

    def _draw(self, downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        whole, measure = measured(downloads, counters)
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
            self._overall = self._bars.add_task(
                printable(self._title)[:NAME_WIDTH], total=whole, seen=0, again="", since=self._started
            )
        bars = self._bars
        rows, running = counters.rows(), set(counters.running())
        bars.update(self._overall, completed=measure(None), seen=rows, again=again_mark(counters.retries()))
        for number in [number for number in self._tasks if number not in running]:
            bars.remove_task(self._tasks.pop(number))
        for number in sorted(running):
            download = downloads[number]
            if number not in self._tasks:
                total = download.rows if whole is None or download.rows is not None else download.size
                name = "  " + printable(download.id)[: NAME_WIDTH - 2]
                self._tasks[number] = bars.add_task(name, total=total, seen=0, again="", since=time.monotonic())
            bars.update(
                self._tasks[number],
                completed=measure(number),
                seen=counters.rows(number),
                again=again_mark(counters.retries(number)),
            )
        bars.refresh()


def again_mark(tries: int) -> str:
    """Return the mark for what had to be tried again."""
    return f"↻{tries}" if tries else ""


def measured(downloads: Sequence[Download | Split], counters: ProgressCounters) -> tuple[int | None, Any]:
    """Return how much work there is in all, None when unknown, and what measures how much of it is done."""
    rows = [download.rows for download in downloads if download.rows is not None]
    if len(rows) == len(downloads):
        return sum(rows), counters.rows
    sizes = [download.size for download in downloads if download.size is not None]
    if len(sizes) == len(downloads):
        return sum(sizes), counters.bytes
    return None, counters.rows


def plain_line(downloads: Sequence[Download | Split], counters: ProgressCounters, elapsed: float) -> str:
    """Return one line that says it all, for logs."""
    whole, measure = measured(downloads, counters)
    done, rows = measure(None), counters.rows()
    noun = "parts" if any(isinstance(download, Split) for download in downloads) else "downloads"
    text = f"{rows:,} rows, {speed_text(rows / elapsed)}, {counters.finished()} of {len(downloads)} {noun}"
    if counters.retries():
        text += f", {counters.retries()} tried again"
    if whole and done:
        left = timedelta(seconds=round(elapsed / done * max(0, whole - done)))
        text = f"{done / whole:.0%}, {text}, {left} left"
    return text


def speed_text(rows_per_second: float) -> str:
    """Return a speed for people."""
    millions = rows_per_second / 1e6
    return f"{millions:.1f} M rows/s" if millions >= 1 else f"{millions * 1000:.1f} k rows/s"


def _new_bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as RichProgress,
    )
    from rich.text import Text

    class SpeedColumn(ProgressColumn):
        """Rows a second since the task began."""

        def render(self, task: Task) -> Text:
            elapsed = time.monotonic() - task.fields["since"]
            return Text(speed_text(task.fields["seen"] / elapsed) if elapsed else "", style="cyan", justify="right")

    console = Console(stderr=True)
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=max(5, min(40, console.width - TEXT_WIDTH))),
        TaskProgressColumn(),
        TextColumn("{task.fields[seen]:>13,} rows", markup=False),
        SpeedColumn(),
        TextColumn("[yellow]{task.fields[again]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        auto_refresh=False,
        transient=True,
    )
