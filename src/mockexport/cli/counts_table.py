"""The table of `count`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.cli.grid import Cell, Column, Grid
from mockexport.cli.styles import FAINT, HEADING, HIGH, LOW, NOTICE, VERY_HIGH, VERY_LOW
from mockexport.cli.tables import shortened
from mockexport.encoding import printable
from mockexport.outliers import deviations, mark_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, ConsoleOptions, RenderResult

    from mockexport.model import Counts

__all__ = ["CountsTable", "counts_table"]

MIN_TYPES = 3  # if fewer event types fit, the long form reads better

STYLES = {"++": VERY_HIGH, "+": HIGH, "-": LOW, "--": VERY_LOW}  # of marks
LEGEND = (
    Cell("+ ++ over 1 or 2 standard deviations above the type's mean", HIGH),
    Cell("- -- over 1 or 2 standard deviations below it", LOW),
)


@dataclass(frozen=True, slots=True)
class CountsTable:
    """Counts with a row per patient and a column per event type; if few types fit, with a row per patient and type."""

    wide: Grid
    long: Callable[[], Grid]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the form that reads better."""
        others = 2  # columns beside the types
        fitting = self.wide.shown(options.max_width) - others
        yield self.wide if fitting >= min(MIN_TYPES, len(self.wide.columns) - others) else self.long()


def counts_table(title: str, counts: Counts, *, all_rows: bool = True, top: int | None = None) -> CountsTable:
    """Return the table of counts: of all patients, of the first and last ones, or of the `top` with the most records.

    The totals are those of all patients. High and low counts have marks and colours, absent counts a dim dot.
    """
    patients, totals = counts.patients, dict(sorted(counts.totals.items()))
    sums = {patient: sum(types.values()) for patient, types in patients.items()}
    names: list[str] = sorted(patients)
    notes = []
    if top is not None:
        names, all_rows = sorted(names, key=lambda patient: -sums[patient])[:top], True
        notes.append(Cell(f"{len(names):,} of {len(patients):,} patients, those with the most records"))
    if counts.left_out:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.left_out.items()))
        notes.append(Cell(f"malformed rows left out: {sum(counts.left_out.values()):,} ({reasons})", NOTICE))
    if counts.unassigned:
        notes.append(Cell(unassigned_text(counts), NOTICE))
    marks = {event_type: marks_of(counts, event_type) for event_type in totals}
    mark_width = max((len(mark) for found in marks.values() for mark, _ in found.values()), default=0)
    if mark_width:
        notes += LEGEND

    def text(text: str, mark: str = "") -> str:
        return f"{text} {mark:<{mark_width}}" if mark_width else text

    def number(patient: str, event_type: str) -> Cell:
        n = patients[patient].get(event_type)
        mark, style = marks[event_type].get(patient, ("", FAINT if n is None else ""))
        return Cell(text("·" if n is None else f"{n:,}", mark), style)

    def row(patient: str) -> list[Cell]:
        numbers = [number(patient, event_type) for event_type in totals]
        return [Cell(printable(patient)), *numbers, Cell(f"{sums[patient]:,}", HEADING)]

    def wide() -> Grid:
        shown, note = shortened(names, "patients", all_rows=all_rows)
        rows = [None if patient is None else row(patient) for patient in shown]
        total = [Cell("total"), *(Cell(text(f"{n:,}")) for n in totals.values()), Cell(f"{counts.rows:,}", HEADING)]
        types = [Column(text(printable(event_type)), right=True, optional=True) for event_type in totals]
        columns = [Column("patient"), *types, Column("total", right=True)]
        return Grid(columns, rows, [total], printable(title), optional="types", notes=[*note, *notes])

    def long() -> Grid:
        pairs = [(patient, event_type) for patient in names for event_type in sorted(patients[patient])]
        shown, note = shortened(pairs, "pairs of patient and type", all_rows=all_rows)
        types, _ = shortened(list(totals), "types", all_rows=all_rows)
        return Grid(
            [Column("patient"), Column("type"), Column(text("records"), right=True)],
            [None if pair is None else [*(Cell(printable(name)) for name in pair), number(*pair)] for pair in shown],
            [None if t is None else [Cell("total"), Cell(printable(t)), Cell(text(f"{totals[t]:,}"))] for t in types],
            printable(title),
            notes=[*note, *notes],
        )

    return CountsTable(wide(), long)


def unassigned_text(counts: Counts) -> str:
    """Return how many records have no patient, by type and reason."""
    numbers = [(n, name, reason) for name, reasons in counts.unassigned.items() for reason, n in reasons.items()]
    named = ", ".join(
        f"{printable(name)} {reason} {n:,}" for n, name, reason in sorted(numbers, key=lambda k: (-k[0], k[1:]))
    )
    return f"without a patient: {sum(n for n, _, _ in numbers):,} ({named})"


def marks_of(counts: Counts, event_type: str) -> dict[str, tuple[str, str]]:
    """Return the mark and the style of each patient whose count of an event type is far from the mean."""
    marks = {patient: mark_of(distance) for patient, distance in deviations(counts.patients, event_type).items()}
    return {patient: (mark, STYLES[mark]) for patient, mark in marks.items() if mark}
