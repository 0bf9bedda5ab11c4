"""Bars: what is said of how far something is, and how fast it moves, in lines of a given width."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from mockexport.cli.styles import FAINT, GOOD, NOTICE, SPEED
from mockexport.encoding import printable

if TYPE_CHECKING:
    from rich.text import Text

    from mockexport.pipeline import TaskStatus

__all__ = ["Bar", "Layout", "Pace", "condition", "plain_line", "size_text"]

RATE_SECONDS = 5.0  # over which a rate is taken
STILL_SECONDS = 2.0  # without progress, after which nothing is said of the time left
RESUMED_SECONDS = 5.0  # for which it is said
NAME_WIDTH = 18
BAR_WIDTHS = range(5, 41)
NARROW = 70  # columns, below which a bar and a count have no room


class Bar(NamedTuple):
    """One bar: `done` of `total` in any unit (None: unknown), and the rows or readings processed so far.

    Of both, an earlier run had done some: `kept_done` and `kept`. `status` is what a single download does.
    """

    name: str
    done: float
    total: float | None
    processed: int
    retries: int
    details: tuple[str, ...] = ()  # shown in plain lines
    kept_done: float = 0
    kept: int = 0
    status: TaskStatus | None = None


class Pace:
    """How fast a bar moves: what is seen of it now and then."""

    def __init__(self, now: float) -> None:
        self.began = self._moved = self._changed = now
        self._seen: deque[tuple[float, float, float]] = deque()  # when, and what was processed and done by then
        self._status: object = None

    def see(self, now: float, bar: Bar) -> None:
        """Take what a bar is now, of this run alone."""
        processed, done = bar.processed - bar.kept, bar.done - bar.kept_done
        if self._seen and (processed < self._seen[-1][1] or done < self._seen[-1][2]):  # it starts over
            self._seen.clear()
        if not self._seen or (processed, done) != self._seen[-1][1:]:
            self._moved = now
        self._seen.append((now, processed, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_SECONDS:  # noqa: PLR2004 - a rate takes two
            self._seen.popleft()
        if (bar.status, bar.retries) != self._status:
            self._status = (bar.status, bar.retries)
            self._changed = now

    def rate(self) -> float:
        """Return what was processed per second lately."""
        return self._per_second(1)

    def still(self, now: float) -> float:
        """Return for how many seconds nothing has moved."""
        return now - self._moved

    def unchanged(self, now: float) -> float:
        """Return for how many seconds the status has been what it is."""
        return now - self._changed

    def left(self, now: float, bar: Bar) -> str:
        """Return the time left, such as "0:01:30"; nothing while it cannot be known."""
        rate = self._per_second(2)
        if not bar.total or rate <= 0 or self.still(now) >= STILL_SECONDS:
            return ""
        return str(timedelta(seconds=round(max(0, bar.total - bar.done) / rate)))

    def _per_second(self, field: int) -> float:
        if not self._seen or self._seen[-1][0] <= self._seen[0][0]:
            return 0.0
        return (self._seen[-1][field] - self._seen[0][field]) / (self._seen[-1][0] - self._seen[0][0])


def condition(bar: Bar, pace: Pace, now: float, timeout: float | None) -> str:
    """Return what is to be said of a download that does not simply run."""
    from mockexport.pipeline import BUSY, LOST

    if bar.status is None:
        return ""
    if bar.status.state in (BUSY, LOST):
        what = "server busy" if bar.status.state == BUSY else "connection lost"
        seconds = bar.status.wait - pace.unchanged(now)
        return f"{what}, next try in {seconds:.0f} s" if round(seconds) > 0 else f"{what}, trying again"
    if (still := pace.still(now)) >= STILL_SECONDS:
        return f"no data for {still:.0f} s" + (f" of {timeout:.0f} s" if timeout is not None else "")
    if bar.status.resumed and pace.unchanged(now) < RESUMED_SECONDS:
        return f"resumed at {size_text(bar.status.resumed)}"
    return ""


class Layout:
    """Where the parts of a line stand, in so many columns; all lines of a picture have the same."""

    def __init__(self, width: int, unit: str, retries: int) -> None:
        self._width = width
        self._unit = unit
        self._retries = len(f" ↻{retries}") if retries else 0
        self._count = 14 + len(unit) if width >= NARROW else 0  # " 1,000,000,000 rows"
        self._speed = 11 + len(unit)  # " 999.9 k rows/s"
        self._name = NAME_WIDTH if width >= NARROW else NAME_WIDTH - 4
        rest = width - self._name - len(" 100%") - self._count - self._speed - len(" 00:00:00") - self._retries - 1
        if rest < BAR_WIDTHS[0] and self._count:
            rest += self._count
            self._count = 0
        self._bar = min(rest, BAR_WIDTHS[-1]) if rest >= BAR_WIDTHS[0] else 0

    def line(self, bar: Bar, pace: Pace, now: float, timeout: float | None) -> Text:
        """Return the line of a bar."""
        from rich.text import Text

        share = min(1.0, bar.done / bar.total) if bar.total else 0.0
        name = printable(bar.name)[: self._name]
        line = Text(f"{name:<{self._name}}")
        told = condition(bar, pace, now, timeout)
        percent = f"{share:>5.0%}" if bar.total else " " * 5
        if self._bar and len(told) + self._name + self._bar + len(percent) + 2 <= self._width:
            filled = round(self._bar * share)
            line.append(" " + "━" * filled, style=GOOD)
            line.append("─" * (self._bar - filled), style=FAINT)
        line.append(percent)
        if told:
            line.append(f" {told}", style=NOTICE)
        else:
            if self._count:
                line.append(f"{bar.processed:>{self._count - len(self._unit) - 1},} {self._unit}")
            line.append(f"{speed(pace.rate(), self._unit):>{self._speed}}", style=SPEED)
            line.append(f"{pace.left(now, bar):>9}")
            if bar.retries:
                line.append(f" ↻{bar.retries}", style=NOTICE)
        line.truncate(self._width)
        return line


def plain_line(bar: Bar, pace: Pace, now: float, unit: str) -> str:
    """Return progress as one line, for logs."""
    parts = [f"{bar.processed:,} {unit}", speed(pace.rate(), unit), *bar.details]
    if bar.retries:
        parts.append(f"{bar.retries} retries")
    if bar.total:
        parts.insert(0, f"{bar.done / bar.total:.0%}")
    if left := pace.left(now, bar):
        parts.append(f"{left} left")
    return f"{bar.name}: {', '.join(parts)}"


def speed(per_second: float, unit: str) -> str:
    """Return a speed such as "1.5 M rows/s"."""
    millions = per_second / 1e6
    return f"{millions:.1f} M {unit}/s" if millions >= 1 else f"{millions * 1000:.1f} k {unit}/s"


def size_text(size: int) -> str:
    """Return a number of bytes such as "1.2 GB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
