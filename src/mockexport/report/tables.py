"""Tables of a report: with a caption, and with headings that tell of what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mockexport.report.markup import element

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.report.markup import Content, Markup

__all__ = ["ABSENT", "Cell", "Column", "number", "shortened", "table"]

T = TypeVar("T")


class Column(NamedTuple):
    """A column by its heading; `kind` is a class of style.css: `number`, `plot`, `time`, `code`."""

    heading: Content
    kind: str = ""


class Cell(NamedTuple):
    """A content with a mood, a class of style.css: `bad`, `notice`, `faint`, or the shade of a heat map."""

    content: Content
    mood: str


ABSENT = Cell("·", "faint")


def number(value: int | None, mood: str = "") -> Cell:
    """Return a whole number."""
    return ABSENT if value is None else Cell(f"{value:,}", mood)


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Content | Cell]],
    footer: Iterable[Sequence[Content | Cell]] = (),
) -> Markup:
    """Return a table, whose rows are headed by their first cells. If it is wide, it scrolls by itself."""
    head = element("tr", [element("th", name, scope="col", class_=kind or None) for name, kind in columns])
    foot = [_row(columns, row) for row in footer]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", [_row(columns, row) for row in rows]),
            element("tfoot", foot) if foot else None,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex=0,
    )


def _row(columns: Sequence[Column], cells: Sequence[Content | Cell]) -> Markup:
    written = []
    for place, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        content, mood = cell if isinstance(cell, Cell) else (cell, "")
        classes = " ".join(filter(None, (column.kind, mood))) or None
        if place:
            written.append(element("td", content, class_=classes))
        else:
            written.append(element("th", content, scope="row", class_=classes))
    return element("tr", written)


def shortened(items: Sequence[T], most: int, noun: str, which: str = "the first ones") -> tuple[Sequence[T], str]:
    """Return so many items at most, and what to say of the others: nothing if there are none."""
    if len(items) <= most:
        return items, ""
    return items[:most], f"{most:,} of {len(items):,} {noun}: {which}. The command's own output has all of them."
