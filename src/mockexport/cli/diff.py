"""The command `mockexport diff`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from mockexport.cli.grid import Cell, Column, Grid
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import MaxPairsOption, MemoryOption
from mockexport.cli.output import csv_text
from mockexport.cli.prepare import Run, with_run
from mockexport.cli.sizes import read_size
from mockexport.cli.styles import BAD, FAINT, GOOD
from mockexport.cli.tables import shortened
from mockexport.encoding import printable
from mockexport.errors import NotFoundError, UntrustedDataError
from mockexport.factory import open_source
from mockexport.place import read_whole
from mockexport.reconciliation import diff_certificates, read_certificate
from mockexport.source import MakesExports
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mockexport.reconciliation import Change, ExportDiff

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport diff monday.json tuesday.json      two certificates
  mockexport diff monday.json trial -s exports  a certificate and an export
  mockexport diff trial-1 trial-2 -s exports    two exports of a source
  mockexport diff trial trial -s exports --other-source http://host:8000
"""
DIFFERENT = 1
COLUMNS = ("patient_id", "type", "before", "after", "difference", "deleted")
ABSENT = Cell("·", FAINT)


@app.command("diff", cls=CommandWithSections, short_help="Tell what changed between two exports.", epilog=EXAMPLES)
@with_run(parallel=True, certifies=True)
def diff_command(
    run: Run,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A certificate, FILE.json, or the id of an export.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Likewise.")],
    other_source: Annotated[
        str | None,
        typer.Option(
            "--other-source",
            metavar="SOURCE",
            show_default=False,
            help="The source of AFTER, if it is an export of another one. A server gets no token.",
        ),
    ] = None,
    memory: MemoryOption = "256MB",
    max_pairs: MaxPairsOption = MAX_PAIRS,
) -> None:
    """Tell what came and what went between two exports, by type and patient, and what of it was deleted.

    An export is reconciled first. A certificate has records by patient if it was made with --by-patient. The exit code
    is 0 if both have the same numbers of records, and 1 if not.
    """
    size = read_size(memory)
    one = certificate_of(run, before, size, max_pairs)
    if other_source is None:
        other = certificate_of(run, after, size, max_pairs)
    else:
        source = open_source(other_source, kernel=run.kernel)
        with closing(source):
            try:
                other = certificate_of(run._replace(source=source), after, size, max_pairs)
            finally:
                if isinstance(source, MakesExports):
                    source.end()
    diff = diff_certificates(one, other)
    run.write(
        diff.document(),
        table=lambda: diff_table(diff, all_rows=run.all_rows),
        csv=lambda: csv_text(COLUMNS, map(change_row, [*diff.types, *(diff.patients or ())])),
    )
    for line in summary_lines(diff):
        run.terminal.note(line)
    raise typer.Exit(0 if diff.equal else DIFFERENT)


def certificate_of(run: Run, name: str, memory: int, max_pairs: int) -> Mapping[str, Any]:
    """Return the certificate of a file, or make that of an export."""
    from mockexport.pipeline import reconcile

    if name.endswith(".json"):
        path = Path(name)
        if not path.exists():
            raise NotFoundError(f"no such file: {path}; create a certificate with `mockexport reconcile -o FILE`")
        try:
            return read_certificate(orjson.loads(read_whole(path)))
        except orjson.JSONDecodeError as error:
            raise UntrustedDataError(f"{path}: it is not valid JSON: {error}") from error
        except UntrustedDataError as error:
            raise UntrustedDataError(f"{path}: {error.message}") from error
        except OSError as error:
            raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
    with run.progress(name) as progress:
        certificate = reconcile(
            run.source, name, by_patient=True, memory=memory, jobs=run.jobs, max_pairs=max_pairs, kernel=run.kernel,
            csv=run.csv, fhir=run.fhir, start_workers=run.start_workers, on_progress=progress.downloads,
            on_listing=progress.listing,
        )  # fmt: skip
    return certificate.document()


def summary_lines(diff: ExportDiff) -> Iterator[str]:
    """Yield the result in words, and what it does not tell."""
    if diff.equal:
        yield "equal: both have the same numbers of records"
    else:
        came = sum(max(0, change.difference) for change in diff.types)
        went = sum(max(0, -change.difference) for change in diff.types)
        deleted = sum(change.deleted or 0 for change in diff.types)
        parts = [f"{came:,} records came", f"{went:,} went{f' ({deleted:,} of them deleted)' if deleted else ''}"]
        if diff.patients is not None:
            parts.append(f"{len(diff.came):,} patients came, {len(diff.went):,} went")
        elif "patients" in diff.totals:
            parts.append("{:,} patients before, {:,} after".format(*diff.totals["patients"]))
        if "distinct" in diff.totals:
            parts.append("{:,} distinct records before, {:,} after".format(*diff.totals["distinct"]))
        yield f"different: {'; '.join(parts)}"
    if diff.equal and diff.other_bytes:
        yield f"{diff.other_bytes:,} downloads have other bytes: records may be other ones, or in another order"
    for line in diff.unknown:
        yield f"not known: {line}"


def diff_table(diff: ExportDiff, *, all_rows: bool) -> Grid:
    """Return the table: the changes by patient where they are known, else by type."""
    changes: Sequence[Change] = diff.types if diff.patients is None else diff.patients
    shown, notes = shortened(changes, "changes", all_rows=all_rows)
    columns = [
        *([] if diff.patients is None else [Column("patient")]),
        Column("type"),
        *(Column(name, right=True) for name in ("before", "after", "difference", "deleted")),
    ]
    total = "equal" if diff.equal else f"{len(changes):,} changes"
    return Grid(
        columns,
        [None if change is None else change_cells(change) for change in shown],
        notes=[*notes, Cell(total, GOOD if diff.equal else BAD)],
    )


def change_cells(change: Change) -> list[Cell]:
    """Return the row of a change."""
    style = GOOD if change.difference > 0 else BAD
    cells = [Cell(printable(change.patient))] if change.patient is not None else []
    numbers = [ABSENT if n is None else Cell(f"{n:,}") for n in (change.before, change.after)]
    deleted = ABSENT if change.deleted is None else Cell(f"{change.deleted:,}")
    return [*cells, Cell(printable(change.type)), *numbers, Cell(f"{change.difference:+,}", style), deleted]


def change_row(change: Change) -> tuple[object, ...]:
    """Return the row of a change in CSV; of all patients, it has no patient."""
    return change.patient, change.type, change.before, change.after, change.difference, change.deleted
