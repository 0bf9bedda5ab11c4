"""Answers as tables for people."""

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

# How far a count lies from its event type's mean over all patients, in standard deviations, and how that looks.
STANDS_OUT = ((2.0, "bold red"), (1.0, "yellow"), (-1.0, ""), (-2.0, "cyan"))
STANDS_OUT_LOW = "bold blue"
NUMBERS = frozenset(("downloads", "rows", "patients", "bytes"))


def counts_table(title: str, counts: Counts) -> Table:
    """Return patients by types.

    Counts that are high for their type are yellow and red, low ones cyan and blue, missing ones a dim dot.
    """
    totals = dict(sorted(counts.totals.items()))
    table = Table(title=Text(printable(title)), show_footer=True)
    table.add_column("patient", footer="total", no_wrap=True)
    for event_type, total in totals.items():
        table.add_column(Text(printable(event_type)), footer=f"{total:,}", justify="right", no_wrap=True)
    table.add_column("total", footer=f"{sum(totals.values()):,}", justify="right", style="bold", no_wrap=True)
    styles = {
        event_type: _shades([types.get(event_type, 0) for types in counts.patients.values()]) for event_type in totals
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


def _shades(numbers: Sequence[int]) -> Any:
    mean, deviation = statistics.fmean(numbers), statistics.pstdev(numbers)

    def shade(number: int) -> str:
        if deviation == 0:
            return ""
        distance = (number - mean) / deviation
        return next((style for limit, style in STANDS_OUT if distance >= limit), STANDS_OUT_LOW)

    return shade


def listing_table(documents: Sequence[dict[str, Any]]) -> Table:
    """Return a row a document; what isn't declared is a dim dot."""
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
    """Return a row a difference, and one for each file without any."""
    table = Table()
    for column in ("file", "export", "status", "patient", "event type"):
        table.add_column(column, overflow="fold")
    for column in ("expected", "actual"):
        table.add_column(column, justify="right")
    looks = {"match": "green", "differs": "bold red", "error": "bold yellow"}
    for document in documents:
        status = document["status"]
        head = (_cell(document["file"]), _cell(document["export"]), Text(status, looks[status]))
        for difference in document["differences"]:
            patient, *rest = difference.values()
            table.add_row(
                *head, Text("total", "bold") if patient is None else _cell(patient), *(_cell(v) for v in rest)
            )
        if not document["differences"]:
            table.add_row(*head, Text(printable(document.get("error", "")), "yellow"))
    return table
