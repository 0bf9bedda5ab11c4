"""The table of `stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.cli.grid import Cell, Column, Grid
from mockexport.cli.styles import BAD, FAINT, NOTICE, SPEED
from mockexport.cli.tables import shortened
from mockexport.encoding import printable
from mockexport.formatting import short_time, span_text, value_text
from mockexport.stats import FLAWS, badness

if TYPE_CHECKING:
    from mockexport.pipeline import Figures, Statistics

__all__ = ["stats_table"]

STRIP_WIDTH = 12
MANY_ANOMALIES = 0.05  # of the numbers, from which on they are shown as bad
ABSENT = Cell("·", FAINT)
COLUMNS = (
    Column("patient"),
    Column("type"),
    Column("count", right=True),
    Column("mean", right=True),
    Column("min", right=True),
    Column("spread", optional=True),
    Column("max", right=True),
    Column("anomalies", right=True),
    Column("latency", right=True),
    Column("longest gap", right=True, optional=True),
    Column("sd", right=True, optional=True),
    Column("median", right=True, optional=True),
    Column("no number", right=True, optional=True),
    Column("duplicates", right=True, optional=True),
    Column("out of order", right=True, optional=True),
    Column("future", right=True, optional=True),
    Column("p05", right=True, optional=True),
    Column("p95", right=True, optional=True),
    Column("first", optional=True),
    Column("last", optional=True),
)
LEGEND = Cell("spread: ─ minimum to maximum, ━ the middle 90 per cent, ┃ the median; a type has one scale", FAINT)


def stats_table(title: str, statistics: Statistics, *, all_rows: bool = True, top: int | None = None) -> Grid:
    """Return the table of statistics: a row per patient and type, or the `top` worst of them; the totals below."""
    pairs = [(patient, name) for patient, types in statistics.patients.items() for name in types]
    total_of = statistics.totals

    def row(patient: str, name: str) -> list[Cell]:
        figures = statistics.patients[patient][name]
        return [Cell(printable(patient)), Cell(printable(name)), *cells(figures, total_of[name])]

    notes = notes_of(statistics)
    if top is not None:
        notes.insert(0, Cell(f"{min(top, len(pairs)):,} of {len(pairs):,} pairs of patient and type, the worst ones"))
        pairs, all_rows = sorted(pairs, key=lambda pair: badness(statistics.patients[pair[0]][pair[1]]))[:top], True
    shown, note = shortened(pairs, "pairs of patient and type", all_rows=all_rows)
    types, _ = shortened(list(total_of), "types", all_rows=all_rows)
    footer = [
        None if name is None else [Cell("total"), Cell(printable(name)), *cells(total_of[name], total_of[name])]
        for name in types
    ]
    footer.append([Cell("all"), Cell(""), *cells(statistics.all, {})])
    rows = [None if pair is None else row(*pair) for pair in shown]
    return Grid(COLUMNS, rows, footer, printable(title), notes=[*note, *notes, LEGEND])


def notes_of(statistics: Statistics) -> list[Cell]:
    """Return what is to be said of the figures."""
    notes = []
    if any(figures.get("approximate") for figures in statistics.totals.values()):
        notes.append(Cell("median, p05 and p95 of more than 4,096 distinct values are within 1%", FAINT))
    if flaws := [f"{statistics.all[name]:,} {text}" for name, text in FLAWS.items() if statistics.all.get(name)]:
        notes.append(Cell(f"of {statistics.all['count']:,} records: {', '.join(flaws)}", NOTICE))
    if statistics.suppressed:
        notes.append(Cell(f"left out, of the totals too: {statistics.suppressed:,} pairs with too few records", NOTICE))
    if statistics.left_out:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(statistics.left_out.items()))
        notes.append(Cell(f"malformed rows left out: {sum(statistics.left_out.values()):,} ({reasons})", NOTICE))
    if statistics.unassigned:
        without = sum(sum(reasons.values()) for reasons in statistics.unassigned.values())
        notes.append(Cell(f"records without a patient, in no figure: {without:,}", NOTICE))
    return notes


def cells(figures: Figures, total: Figures) -> list[Cell]:
    """Return the cells of figures behind those of their names; `total` has the scale of their type."""
    return [
        Cell(f"{figures['count']:,}"),
        value_cell(figures.get("mean"), digits=1),
        value_cell(figures.get("min")),
        spread_cell(figures, total),
        value_cell(figures.get("max")),
        anomalies_cell(figures),
        span_cell(figures["latency"]),
        span_cell(figures["longest_gap"]),
        value_cell(figures.get("sd"), digits=1),
        value_cell(figures.get("median")),
        *(flaw_cell(figures[name]) for name in ("not_a_number", "duplicates", "out_of_order", "future")),
        value_cell(figures.get("p05")),
        value_cell(figures.get("p95")),
        time_cell(figures["first"]),
        time_cell(figures["last"]),
    ]


def flaw_cell(n: int) -> Cell:
    """Return a number of records that would better be zero."""
    return Cell(f"{n:,}", NOTICE) if n else ABSENT


def anomalies_cell(figures: Figures) -> Cell:
    """Return the anomalies; the colour tells whether they are many."""
    n, numbers = figures["anomalies"], figures["count"] - figures["not_a_number"]
    return Cell(f"{n:,}", BAD if n >= MANY_ANOMALIES * numbers else NOTICE) if n else ABSENT


def value_cell(value: float | None, *, digits: int | None = None) -> Cell:
    """Return a value in few characters: with so many digits behind the point, or with up to two."""
    return ABSENT if value is None else Cell(value_text(value, digits=digits))


def span_cell(seconds: float | None) -> Cell:
    """Return how long something is, in the unit that suits it."""
    return ABSENT if seconds is None else Cell(span_text(seconds))


def time_cell(time: str | None) -> Cell:
    """Return a time without its fraction of a second."""
    return ABSENT if time is None else Cell(short_time(time))


def spread_cell(figures: Figures, total: Figures) -> Cell:
    """Return where values lie between the smallest and the largest one of their type, as a strip of characters."""
    if figures.get("min") is None or total.get("min") is None:
        return ABSENT
    low, span = total["min"], total["max"] / 2 - total["min"] / 2  # the whole of it may be more than a double holds

    def place(name: str) -> int:
        return round((figures[name] / 2 - low / 2) / span * (STRIP_WIDTH - 1)) if span else 0

    strip = [" "] * STRIP_WIDTH
    for first, last, mark in ("min", "max", "─"), ("p05", "p95", "━"), ("median", "median", "┃"):
        strip[place(first) : place(last) + 1] = mark * (place(last) - place(first) + 1)
    return Cell("".join(strip), SPEED)
