"""The command `mockexport stats`."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mockexport.cli.documents import statistics_document
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import ExportArgument, Format, MaxPairsOption, MemoryOption, OnMalformed, OnMalformedOption
from mockexport.cli.output import csv_text
from mockexport.cli.prepare import Run, with_run
from mockexport.cli.sizes import read_size
from mockexport.cli.terminal import print_note
from mockexport.errors import NotFoundError, UsageError
from mockexport.model import parse_time
from mockexport.place import read_whole
from mockexport.stats import MAX_STATS_PAIRS, read_ranges

if TYPE_CHECKING:
    from mockexport.cli.grid import Grid
    from mockexport.report import About

__all__ = ["app", "statistics_csv"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport stats --table                      the generated export "demo"
  mockexport stats trial -s exports -o out.json from exports/trial/*.csv
  mockexport stats large --table --top 10       where the anomalies are
  mockexport stats small --patient S001 --patient S002
  mockexport stats --ranges ranges.json         {"heart_rate": [50, null]}
  mockexport stats trial --suppress-below 10    for a table to be published
  mockexport stats -s visits.csv --patient-column id --type-column code \\
    --time-column at --value-column reading
"""


@app.command("stats", cls=CommandWithSections, short_help="Show figures of values and times.", epilog=EXAMPLES)
@with_run(parallel=True, values=True, on_cluster=True, reports=True)
def stats_command(
    run: Run,
    export: ExportArgument = None,
    ranges: Annotated[
        Path | None,
        typer.Option(
            "--ranges",
            metavar="FILE",
            show_default=False,
            help="Take the ranges of types in FILE, a JSON object of type to [low, high]; outside is an anomaly.",
        ),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            metavar="TIME",
            show_default=False,
            help="Later events are in the future.  [default: the time of the run]",
        ),
    ] = None,
    patient: Annotated[
        list[str] | None,
        typer.Option("--patient", metavar="ID", show_default=False, help="Take this patient alone. May be repeated."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            show_default=False,
            help="In a table, show the N worst pairs of patient and type: those with the most anomalies, then the most "
            "values that are no numbers, then the longest gap.",
        ),
    ] = None,
    suppress_below: Annotated[
        int,
        typer.Option(
            "--suppress-below",
            min=1,
            metavar="N",
            show_default=False,
            help="Leave out a patient's type with fewer than N records, of the totals too.",
        ),
    ] = 1,
    on_malformed: OnMalformedOption = OnMalformed.fail,
    max_pairs: MaxPairsOption = MAX_STATS_PAIRS,
    memory: MemoryOption = "256MB",
) -> None:
    """Show figures of the values and times of an export.

    By patient and type, and by type: mean, minimum, maximum, anomalies, the average time between events (latency), and
    more. All figures are exact, except for quantiles of many distinct values, which say so.
    """  # fmt: skip
    from mockexport.pipeline import statistics

    if top is not None and run.format is not Format.table:
        raise UsageError(f"--top applies to tables, and the format is {run.format}; add --table")
    limits = None if ranges is None else ranges_in(ranges)
    at = None if now is None else read_now(now)
    size = read_size(memory)
    if not run.source_is_named:
        run.terminal.hint("this is generated data; --source names a folder or a server")
    export = run.export(export)
    with run.progress(export) as progress:
        found = statistics(
            run.source, export, now=at, ranges=limits, patients=patient or None, suppress_below=suppress_below,
            skip_malformed=on_malformed is OnMalformed.skip, max_pairs=max_pairs, memory=size, kernel=run.kernel,
            csv=run.csv, fhir=run.fhir, start_workers=run.start_workers, on_progress=progress.downloads,
            on_listing=progress.listing,
        )  # fmt: skip
    document = statistics_document(found, ranges=limits, now=at, only=patient, below=suppress_below)
    if found.left_out:
        # The rows of a CSV cannot say it, so --quiet does not silence it there.
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(found.left_out.items()))
        note = f"skipped {sum(found.left_out.values()):,} malformed rows: {reasons}"
        (print_note if run.format is Format.csv else run.terminal.note)(note)
    if found.suppressed:
        note = f"left out: {found.suppressed:,} pairs of patient and type with fewer than {suppress_below:,} records"
        (print_note if run.format is Format.csv else run.terminal.note)(note)

    def table() -> Grid:
        from mockexport.cli.stats_table import stats_table

        return stats_table(export, found, all_rows=run.all_rows, top=top)

    def report(about: About) -> str:
        from mockexport.report import statistics_report

        return statistics_report(document, about)

    run.write(document, table=table, csv=lambda: statistics_csv(document))
    if run.report:
        run.report.write(run.source.name, export, report)


def statistics_csv(document: dict[str, Any]) -> str:
    """Return a row for each patient and type; a figure that only some have is empty in the other rows."""
    cells = [(patient, name, found) for patient, types in document["patients"].items() for name, found in types.items()]
    names = list(dict.fromkeys(chain.from_iterable(found for _, _, found in cells)))
    rows = ((patient, name, *(found.get(figure) for figure in names)) for patient, name, found in cells)
    return csv_text(["patient_id", "event_type", *names], rows)


def ranges_in(file: Path) -> dict[str, tuple[float | None, float | None]]:
    """Read a file of ranges. Raises UsageError and NotFoundError, which name it."""
    try:
        given = orjson.loads(read_whole(file))
        read_ranges(given)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--ranges {file} is not valid JSON: {error}") from error
    except OSError as error:
        raise NotFoundError(f"--ranges {file} cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"--ranges {file}: {error.message}") from error
    return {name: (ends[0], ends[1]) for name, ends in sorted(given.items())}


def read_now(text: str) -> datetime:
    """Read a time; one without an offset is UTC. Raises UsageError."""
    try:
        return parse_time(text).astimezone(UTC)
    except ValueError as error:
        raise UsageError(f"--now {text!r} is not a time such as 2026-01-31T12:00:00Z") from error
