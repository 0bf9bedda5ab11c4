"""Records by type, as a table with bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.formatting import share_text
from mockexport.report.markup import element, source_text
from mockexport.report.page import note
from mockexport.report.plots import bar
from mockexport.report.tables import Column, shortened, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mockexport.report.markup import Markup

__all__ = ["records_by_type"]

TYPES_SHOWN = 200


def records_by_type(totals: Mapping[str, int]) -> Iterator[Markup]:
    """Yield the table, the type with the most records first, and what it leaves out."""
    by_size = sorted(totals, key=lambda name: (-totals[name], name))
    shown, said = shortened(by_size, TYPES_SHOWN, "types", "those with the most records")
    everything, largest = sum(totals.values()), max(totals.values(), default=0)
    drawn = element("span", "Share, drawn", class_="unseen")
    columns = [Column("Type"), Column("Records", "number"), Column("Share", "number"), Column(drawn, "plot")]
    rows = [
        [source_text(name), f"{totals[name]:,}", share_text(totals[name], everything), bar(totals[name], largest)]
        for name in shown
    ]
    yield table(
        "Records by type", columns, rows, [["All types", f"{everything:,}", share_text(everything, everything), ""]]
    )
    if said:
        yield note(said)
