"""How far `heartrate send` is: one bar, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mockexport.cli.progress import PLAIN_LINE_SECONDS, SHOW_AFTER_SECONDS, TEXT_WIDTH, again_mark
from mockexport.cli.terminal import print_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from mockexport.heartrate import Sent

__all__ = ["SendingProgress"]


class SendingProgress:
    """Shows how much is sent: of the readings if their number is known, else of the time."""

    def __init__(self, readings: int | None, seconds: float | None, *, animated: bool) -> None:
        self._readings = readings
        self._seconds = seconds
        self._animated = animated
        self._started = time.monotonic()
        self._next_line = self._started + SHOW_AFTER_SECONDS
        self._bars: RichProgress | None = None
        self._task: Any = None

    def update(self, sent: Sent) -> None:
        """Show how far it is; nothing in the first second."""
        now = time.monotonic()
        elapsed = now - self._started
        if elapsed < SHOW_AFTER_SECONDS:
            return
        if self._animated:
            self._draw(sent, elapsed)
        elif now >= self._next_line:
            self._next_line = now + PLAIN_LINE_SECONDS
            print_line(f"mockexport: {self.plain_line(sent, elapsed)}")

    def plain_line(self, sent: Sent, elapsed: float) -> str:
        """Return one line that says it all, for logs."""
        text = f"{sent.sent:,} readings, {sent.sent / elapsed:,.0f} readings/s"
        if sent.rejected:
            text += f", {sent.rejected:,} rejected"
        if sent.tried_again:
            text += f", {sent.tried_again:,} tried again"
        return f"{self._share(sent, elapsed):.0%}, {text}"

    def _share(self, sent: Sent, elapsed: float) -> float:
        shares = [sent.sent / self._readings] if self._readings else []
        return min(1.0, max([*shares, elapsed / self._seconds] if self._seconds else shares))

    def close(self) -> None:
        """Take the bar away."""
        if self._bars:
            self._bars.stop()

    def _draw(self, sent: Sent, elapsed: float) -> None:
        if self._bars is None:
            self._bars = _new_bar()
            self._bars.start()
            self._task = self._bars.add_task("sending", total=1.0, sent=0, speed=0.0, again="")
        self._bars.update(
            self._task,
            completed=self._share(sent, elapsed),
            sent=sent.sent,
            speed=sent.sent / elapsed,
            again=again_mark(sent.tried_again),
        )
        self._bars.refresh()


def _new_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=max(5, min(40, console.width - TEXT_WIDTH))),
        TaskProgressColumn(),
        TextColumn("{task.fields[sent]:>11,} readings", markup=False),
        TextColumn("[cyan]{task.fields[speed]:>9,.0f} readings/s"),
        TextColumn("[yellow]{task.fields[again]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        auto_refresh=False,
        transient=True,
    )
