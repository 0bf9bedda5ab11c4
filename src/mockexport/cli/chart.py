"""A chart of heart rates in the terminal, drawn in Braille: each character has two columns and four rows of dots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.text import Text

from mockexport.cli.styles import DEVICES, FAINT, HEADING
from mockexport.encoding import printable
from mockexport.model import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Chart"]

ROWS = 14
MAX_COLUMNS = 120
MIN_RANGE = 10  # beats per minute; in a smaller range, noise would look significant
AXIS = 6  # columns: a number, a space and a line
ACROSS, DOWN = 2, 4
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # the bit of each dot, by row and column
MINUTE = timedelta(minutes=1)
STEPS = (1, 2, 5, 10, 20, 50)  # beats per minute between two labels of the axis


@dataclass(frozen=True, slots=True)
class Minute:
    """One point of the chart."""

    time: datetime
    rate: float
    device: str


class Chart:
    """Draws the minutes of a response of the server, as wide as the terminal; adjacent minutes are connected."""

    def __init__(self, user: str, data: Sequence[dict[str, Any]]) -> None:
        self._user = user
        self._minutes = [Minute(parse_time(p["timestamp"]), p["heart_rate"], p["device_id"]) for p in data]
        devices = sorted({minute.device for minute in self._minutes})
        self._colours = {device: DEVICES[index % len(DEVICES)] for index, device in enumerate(devices)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the chart."""
        columns = max(10, min(options.max_width, MAX_COLUMNS) - AXIS)
        rates = [minute.rate for minute in self._minutes]
        low, high, step = scale(min(rates), max(rates))
        grid = self._grid(columns, low, high)
        yield self._title()
        for row in range(ROWS):
            yield Text(_label(row, low, high, step), FAINT) + Text("│", FAINT) + _line(grid[row])
        yield Text(" " * (AXIS - 1) + "└" + "─" * columns, FAINT)
        yield Text(" " * AXIS) + Text(self._times(columns), FAINT)
        yield self._legend()

    def _title(self) -> Text:
        rates = [minute.rate for minute in self._minutes]
        count = f"{len(rates):,} minute" + ("s" if len(rates) > 1 else "")
        mean = sum(rates) / len(rates)
        summary = f"  {count}, {min(rates):.0f} to {max(rates):.0f} beats per minute, mean {mean:.1f}"
        return Text(printable(self._user), HEADING) + Text(summary)

    def _legend(self) -> Text:
        legend = Text(" " * AXIS)
        for device, colour in self._colours.items():
            count = sum(minute.device == device for minute in self._minutes)
            legend += Text("⣿ ", colour) + Text(f"{printable(device)} {count:,}   ")
        return legend

    def _times(self, columns: int) -> str:
        """Label the start and the end of the time axis, and its middle if there is space."""
        first, last = self._minutes[0].time, self._minutes[-1].time
        pattern = "%Y-%m-%d %H:%M"
        left, right = first.strftime(pattern), last.strftime(pattern) + " UTC"
        if len(left) + len(right) + 2 > columns or first == last:
            return right
        middle = (first + (last - first) / 2).strftime("%H:%M" if first.date() == last.date() else pattern)
        gap = columns - len(left) - len(right)
        return left + (middle.center(gap) if gap > len(middle) + 3 else " " * gap) + right

    def _grid(self, columns: int, low: float, high: float) -> list[dict[int, tuple[int, str]]]:
        """Return the dots and the colour of each character that is not empty, by row and column."""
        grid: list[dict[int, tuple[int, str]]] = [{} for _ in range(ROWS)]
        for x, y, device in self._dots(columns * ACROSS - 1, ROWS * DOWN - 1, low, high):
            row, column = y // DOWN, x // ACROSS
            dots, _ = grid[row].get(column, (0, ""))
            grid[row][column] = (dots | DOTS[y % DOWN][x % ACROSS], self._colours[device])
        return grid

    def _dots(self, right: int, bottom: int, low: float, high: float) -> Iterator[tuple[int, int, str]]:
        first = self._minutes[0].time
        duration = (self._minutes[-1].time - first) / MINUTE or 1.0
        points = [
            (round((m.time - first) / MINUTE / duration * right), round((high - m.rate) / (high - low) * bottom), m)
            for m in self._minutes
        ]
        for x, y, minute in points[:1]:
            yield x, y, minute.device
        for (x1, y1, before), (x2, y2, minute) in pairwise(points):
            if minute.time - before.time > MINUTE:  # there is no data in between
                yield x2, y2, minute.device
                continue
            steps = max(x2 - x1, abs(y2 - y1), 1)
            for at in range(1, steps + 1):
                yield round(x1 + (x2 - x1) * at / steps), round(y1 + (y2 - y1) * at / steps), minute.device


def scale(lowest: float, highest: float) -> tuple[float, float, int]:
    """Return the lowest and the highest value of the axis, and the step between its labels."""
    missing = max(0.0, MIN_RANGE - (highest - lowest)) / 2
    lowest, highest = lowest - missing, highest + missing
    step = next((step for step in STEPS if (highest - lowest) / step <= ROWS / 3), STEPS[-1])
    low, high = lowest // step * step, -(-highest // step) * step
    return low, high, step


def _label(row: int, low: float, high: float, step: int) -> str:
    """Return the label of a row, blank if none falls into it."""
    for number in range(int(low), int(high) + 1, step):
        if round((high - number) / (high - low) * (ROWS * DOWN - 1)) // DOWN == row:
            return f"{number:>{AXIS - 2}} "
    return " " * (AXIS - 1)


def _line(characters: dict[int, tuple[int, str]]) -> Text:
    line = Text()
    for column in range(max(characters, default=-1) + 1):
        dots, colour = characters.get(column, (0, ""))
        line.append(chr(BRAILLE + dots) if dots else " ", colour)
    return line
