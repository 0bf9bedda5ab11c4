"""Output as tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mockexport.cli.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.model import Counts

__all__ = ["counts_table", "listing_table", "verdict_table"]

# The style of a count by its distance from the mean of its event type over all patients, in standard deviations.
STYLES = ((2.0, "bold red"), (1.0, "yellow"), (-1.0, ""), (-2.0, "cyan"))
STYLE_BELOW = "bold blue"
NUMBERS = frozenset(("downloads", "rows", "patients", "bytes", "heart_rate"))


def counts_table(title: str, counts: Counts) -> Table:
    """Return a table with a row per patient and a column per event type.

    High counts are yellow and red, low counts cyan and blue, and absent counts a dim dot.
    """
    totals = dict(sorted(counts.totals.items()))
    table = Table(title=Text(printable(title)), show_footer=True)
    table.add_column("patient", footer="total", no_wrap=True)
    for event_type, total in totals.items():
        table.add_column(Text(printable(event_type)), footer=f"{total:,}", justify="right", no_wrap=True)
    table.add_column("total", footer=f"{sum(totals.values()):,}", justify="right", style="bold", no_wrap=True)
    styles = {
        event_type: _styles([types.get(event_type, 0) for types in counts.patients.values()]) for event_type in totals
    }
    for patient, types in sorted(counts.patients.items()):
        cells = [
            Text(f"{types[event_type]:,}", styles[event_type](types[event_type]))
            if event_type in types
            else Text("·", "dim")
            for event_type in totals
        ]
        table.add_row(Text(printable(patient)), *cells, f"{sum(types.values()):,}")
    return table


def _styles(numbers: Sequence[int]) -> Any:
    mean, deviation = statistics.fmean(numbers), statistics.pstdev(numbers)

    def style(number: int) -> str:
        if deviation == 0:
            return ""
        distance = (number - mean) / deviation
        return next((style for limit, style in STYLES if distance >= limit), STYLE_BELOW)

    return style


def listing_table(documents: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a row per document; null is a dim dot."""
    table = Table()
    for column in documents[0] if documents else ["nothing"]:
        table.add_column(column.replace("_", " "), justify="right" if column in NUMBERS else "left", overflow="fold")
    for document in documents:
        table.add_row(*(_cell(value) for value in document.values()))
    return table


def _cell(value: object) -> Text:
    if value is None:
        return Text("·", "dim")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, tuple | list):
        return Text(" ".join(printable(str(item)) for item in value))
    return Text(printable(str(value)))


def verdict_table(documents: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a row per difference, and one per file without differences."""
    table = Table()
    for column in ("file", "export", "status", "patient", "event type"):
        table.add_column(column, overflow="fold")
    for column in ("expected", "actual"):
        table.add_column(column, justify="right")
    styles = {"match": "green", "differs": "bold red", "error": "bold yellow"}
    for document in documents:
        status = document["status"]
        head = (_cell(document["file"]), _cell(document["export"]), Text(status, styles[status]))
        for difference in document["differences"]:
            patient, *rest = difference.values()
            table.add_row(
                *head, Text("total", "bold") if patient is None else _cell(patient), *(_cell(v) for v in rest)
            )
        if not document["differences"]:
            table.add_row(*head, Text(printable(document.get("error", "")), "yellow"))
    return table
