"""Output as tables, for people: short where all of it would be long, with a note of what is not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mockexport.cli.grid import Cell, Column, Grid, text_width
from mockexport.cli.styles import BAD, FAINT, GOOD, HEADING, NOTICE
from mockexport.encoding import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["listing_table", "shortened", "verdict_table"]

T = TypeVar("T")

MAX_ROWS = 100  # a longer table is shortened
SHOWN_ROWS = 20
MAX_LIST = 24  # columns of the terminal; if a list is wider, the table says only how many items it has

HEADINGS = {"event_types": "types", "start_time": "start (UTC)", "end_time": "end (UTC)", "timestamp": "time (UTC)"}
TIMES = ("start_time", "end_time", "timestamp")
OPTIONAL = (
    "event_types",
    "patients",
    "start_time",
    "end_time",
    "file",
    "sha256",
)  # columns of which a narrow table can do without
ABSENT = Cell("·", FAINT)
STATUS_STYLES = {"match": GOOD, "differs": BAD, "error": f"bold {NOTICE}"}


def shortened(items: Sequence[T], noun: str, *, all_rows: bool) -> tuple[list[T | None], list[Cell]]:
    """Return the first and the last items, None between them, and a note; or all items, if they are few."""
    if all_rows or len(items) <= MAX_ROWS:
        return list(items), []
    half = SHOWN_ROWS // 2
    note = Cell(f"{SHOWN_ROWS} of {len(items):,} {noun}; --all shows all")
    return [*items[:half], None, *items[-half:]], [note]


def listing_table(documents: Sequence[dict[str, Any]], noun: str, *, all_rows: bool = True) -> Grid:
    """Return a table with a row per document, which is one of these `noun`; null is a dim dot."""
    if not documents:
        return Grid([], [], notes=[Cell(f"no {noun}")])
    shown, notes = shortened(documents, noun, all_rows=all_rows)
    columns, cells = [], []
    for name in documents[0]:
        values = [None if document is None else document[name] for document in shown]
        column_cells, right = _column(name, values)
        columns.append(Column(HEADINGS.get(name, name), right=right, optional=name in OPTIONAL))
        cells.append(column_cells)
    rows = [None if document is None else list(row) for document, *row in zip(shown, *cells, strict=True)]
    return Grid(columns, rows, notes=notes)


def _column(name: str, values: Sequence[Any]) -> tuple[list[Cell], bool]:
    """Return the cells of a column, and whether they are numbers; all of its values have the same form."""
    present = [value for value in values if value is not None]
    right = name not in TIMES and all(isinstance(value, int | float) for value in present)
    if any(isinstance(value, tuple | list) for value in present):
        lists = {tuple(value): printable(" ".join(value)) for value in present}
        right = any(text_width(text) > MAX_LIST for text in lists.values())
        texts = [None if value is None else f"{len(value):,}" if right else lists[tuple(value)] for value in values]
    elif name in TIMES:
        texts = _short_times(values)
    else:
        digits = int(any(isinstance(value, float) for value in present))
        texts = [_text(value, digits) for value in values]
    return [ABSENT if text is None else Cell(text) for text in texts], right


def _text(value: object, digits: int) -> str | None:
    if value is None:
        return None
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else printable(str(value))


def _short_times(values: Sequence[str | None]) -> list[str | None]:
    """Write times in UTC without fractions of seconds, and without what is zero in all of them."""
    times = [value and value.removesuffix("Z").partition(".")[0].replace("T", " ") for value in values]
    for zeros in ":00", " 00:00":
        if all(time.endswith(zeros) for time in times if time):
            times = [time and time.removesuffix(zeros) for time in times]
    return times


def verdict_table(documents: Sequence[dict[str, Any]], *, all_rows: bool = True) -> Grid:
    """Return a table with a row per difference, and one per file without differences; errors stand below it."""
    results = [(document, found) for document in documents for found in document["differences"] or [None]]
    shown, notes = shortened(results, "results", all_rows=all_rows)
    notes += [
        Cell(printable(f"{document['file']}: {document['error']}"), STATUS_STYLES["error"])
        for document in documents
        if "error" in document
    ]
    columns = [
        Column("file"),
        Column("export", optional=True),
        Column("status"),
        Column("patient"),
        Column("type"),
        Column("expected", right=True),
        Column("actual", right=True),
    ]
    if all(difference is None for _, difference in results):
        columns = columns[:3]
    rows = [None if result is None else _verdict(*result)[: len(columns)] for result in shown]
    return Grid(columns, rows, notes=notes)


def _verdict(document: dict[str, Any], difference: dict[str, Any] | None) -> list[Cell]:
    status = document["status"]
    head = [Cell(printable(document["file"])), Cell(printable(document["export"])), Cell(status, STATUS_STYLES[status])]
    if difference is None:
        return [*head, *[Cell("")] * 4]
    if "left_out" in difference:
        where = [Cell("left out", HEADING), Cell(difference["left_out"])]
    elif "unassigned" in difference:
        where = [Cell(difference["unassigned"], HEADING), Cell(printable(difference["event_type"]))]
    elif "figure" in difference:
        who = HEADING if difference["patient"] is None else ""
        name = difference["patient"] or ("total" if difference["event_type"] else "all")
        of = " ".join(filter(None, (difference["event_type"], difference["figure"])))
        where = [Cell(printable(name), who), Cell(printable(of))]
    elif difference["patient"] is None:
        where = [Cell("total", HEADING), Cell(printable(difference["event_type"]))]
    else:
        where = [Cell(printable(difference["patient"])), Cell(printable(difference["event_type"]))]
    sides = [difference["expected"], difference["actual"]]
    texts = [printable(side) if isinstance(side, str) else side if side is None else f"{side:,}" for side in sides]
    return [*head, *where, *(ABSENT if text is None else Cell(text) for text in texts)]
