"""A table of text that fits the terminal: columns are left out if need be, and no cell is cut or broken over lines.

rich's own tables cut or fold cells that do not fit, and take a minute for 100,000 rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment

from mockexport.cli.styles import FAINT, HEADING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Cell", "Column", "Grid"]

GAP = "  "  # between two columns


class Cell(NamedTuple):
    """A text without line breaks, and its style."""

    text: str
    style: str = ""


LEFT_OUT = Cell("…", FAINT)  # stands for rows that are left out


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its heading; an `optional` one is left out if the table would be too wide, the last one first."""

    heading: str
    right: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. If not even the columns that are not optional fit, each row is a paragraph with a line per cell.

    A row that is None stands for rows that are left out. `optional` is what to call the optional columns if they are
    too many to be named one by one. The `notes` stand below the table, broken over lines between words.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell] | None]
    footer: Sequence[Sequence[Cell] | None] = ()
    title: str = ""
    optional: str = ""
    notes: Sequence[Cell] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table."""
        width = options.max_width
        widths = self._widths()
        shown = self._fit(widths, width)
        if self.title:
            yield from _segments(console, [Cell(self.title, HEADING)])
        for line in self._paragraphs(width) if shown is None else self._table(shown, widths):
            yield from _segments(console, line)
        for text, style in [*self._left_out(shown), *self.notes]:
            for part in wrapped(text, width):
                yield from _segments(console, [Cell(part, style)])

    def shown(self, width: int) -> int:
        """Return how many columns fit; 0 if not even those that are not optional do."""
        return len(self._fit(self._widths(), width) or ())

    def _widths(self) -> list[int]:
        rows = [row for row in [*self.rows, *self.footer] if row]
        return [
            max([text_width(column.heading), *(text_width(row[number].text) for row in rows)])
            for number, column in enumerate(self.columns)
        ]

    def _fit(self, widths: Sequence[int], width: int) -> list[int] | None:
        shown = list(range(len(self.columns)))
        total = sum(widths) + len(GAP) * (len(shown) - 1)
        for number in reversed(range(len(self.columns))):
            if total > width and self.columns[number].optional:
                shown.remove(number)
                total -= widths[number] + len(GAP)
        return shown if total <= width else None

    def _left_out(self, shown: Sequence[int] | None) -> Iterator[Cell]:
        """Say which columns are left out, if any."""
        optional = [number for number, column in enumerate(self.columns) if column.optional]
        hidden = [number for number in optional if shown is not None and number not in shown]
        if hidden and self.optional:
            yield Cell(f"{len(optional)} {self.optional}, {len(optional) - len(hidden)} shown; --format csv has all")
        elif hidden:
            names = ", ".join(self.columns[number].heading for number in hidden)
            yield Cell(f"not shown: {names}; --format csv has all")

    def _table(self, shown: Sequence[int], widths: Sequence[int]) -> Iterator[list[Cell]]:
        if not shown:
            return
        rule = [Cell("─" * (sum(widths[number] for number in shown) + len(GAP) * (len(shown) - 1)), FAINT)]
        yield self._line([Cell(column.heading, HEADING) for column in self.columns], shown, widths)
        yield rule
        for row in self.rows:
            yield self._line(row, shown, widths)
        if self.footer:
            yield rule
        for row in self.footer:
            yield self._line(row, shown, widths)

    def _line(self, row: Sequence[Cell] | None, shown: Sequence[int], widths: Sequence[int]) -> list[Cell]:
        if row is None:
            return [LEFT_OUT]
        line = []
        for number in shown:
            text, style = row[number]
            space = " " * (widths[number] - text_width(text))
            if self.columns[number].right:
                line += [Cell(space), Cell(text, style)]
            else:
                line += [Cell(text, style), Cell("" if number == shown[-1] else space)]
            line.append(Cell("" if number == shown[-1] else GAP))
        return line

    def _paragraphs(self, width: int) -> Iterator[list[Cell]]:
        headings = [column.heading for column in self.columns]
        label_width = max(map(text_width, headings))
        for row in [*self.rows, *self.footer]:
            if row is None:
                yield from ([LEFT_OUT], [])
                continue
            for heading, (text, style) in zip(headings, row, strict=True):
                if not text:
                    continue
                label = Cell(heading + " " * (label_width - text_width(heading)) + GAP, HEADING)
                if text_width(label.text) + text_width(text) <= width:
                    yield [label, Cell(text, style)]
                else:  # the whole line is the cell's
                    yield [Cell(heading, HEADING)]
                    yield [Cell(text, style)]
            yield []


def _segments(console: Console, line: Sequence[Cell]) -> Iterator[Segment]:
    """Yield a line, in as few segments as its styles allow: that makes long tables fast."""
    plain = ""
    for text, style in line:
        if style and text:
            yield from [Segment(plain)] if plain else []
            yield Segment(text, console.get_style(style))
            plain = ""
        else:
            plain += text
    yield Segment(f"{plain.rstrip()}\n")


def text_width(text: str) -> int:
    """Return how many columns of the terminal a text takes: two for a CJK character, none for a combining one."""
    return len(text) if text.isascii() else cell_len(text)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Break a text over lines between words; a word that is too wide has a line of its own."""
    line = ""
    for word in text.split(" "):
        if line and text_width(f"{line} {word}") > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
