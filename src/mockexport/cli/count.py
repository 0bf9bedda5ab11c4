"""The command `mockexport count`."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mockexport.cli.documents import counts_document
from mockexport.cli.help import CommandWithSections
from mockexport.cli.options import ExportArgument, Format, MaxPairsOption, OnMalformed, OnMalformedOption
from mockexport.cli.output import csv_text
from mockexport.cli.prepare import Run, with_run
from mockexport.cli.terminal import print_note
from mockexport.errors import NotFoundError, UsageError
from mockexport.identity import is_strong
from mockexport.model import Download
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from mockexport.cli.counts_table import CountsTable
    from mockexport.model import Counts
    from mockexport.pipeline import Checkpoint, OnProgress, ProgressCounters, Split
    from mockexport.report import About

__all__ = ["app", "counts_csv"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

EXAMPLES = """\b
Examples:
  mockexport count                              the generated export "demo"
  mockexport count small -o small.json          write the counts to a file
  mockexport count large --table                a table in colour
  mockexport count large -s http://host:8000    from a server
  mockexport count trial -s exports             from exports/trial/*.csv
  mockexport count -s visits.csv                a file of your own
  mockexport count -s 'data/*.tsv.gz' --patient-column id --type-column code
  mockexport count -s fhir-export --by code     FHIR resources, *.ndjson
"""


@app.command("count", cls=CommandWithSections, short_help="Count an export by patient and type.", epilog=EXAMPLES)
@with_run(parallel=True, counts=True, on_cluster=True, reports=True)
def count_command(
    run: Run,
    export: ExportArgument = None,
    on_malformed: OnMalformedOption = OnMalformed.fail,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            show_default=False,
            help="In a table, show the N patients with the most records.",
        ),
    ] = None,
    max_pairs: MaxPairsOption = MAX_PAIRS,
    elapsed: Annotated[bool, typer.Option("--time", "-t", help="Print the elapsed time to stderr.")] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default=False,
            help="Save the counts of finished downloads in FILE, and resume from it.",
        ),
    ] = None,
) -> None:
    """Count the records of an export by patient and type.

    The type is the event type of a CSV, or what --by names of FHIR resources. The counts cover all downloads of the
    export and are exact; if they cannot be, the command fails.
    """
    from mockexport.pipeline import count

    if top is not None and run.format is not Format.table:
        raise UsageError(f"--top applies to tables, and the format is {run.format}; add --table")
    if not run.source_is_named:
        run.terminal.hint("this is generated data; --source names a folder or a server")
    started = time.monotonic()
    export = run.export(export)
    if checkpoint is None and run.state is not None:  # what is finished is part of how far it is
        checkpoint = run.state.with_name(f"{run.state.name}.counts")
    skip_malformed = on_malformed is OnMalformed.skip
    with (
        open_checkpoint(checkpoint, run, export, skip_malformed=skip_malformed) as opened,
        suggest_checkpoint(run, wanted=checkpoint is None) as watched,
        run.progress(export) as progress,
    ):
        counts = count(
            run.source, export, skip_malformed=skip_malformed, max_pairs=max_pairs, kernel=run.kernel,
            csv=run.csv, fhir=run.fhir, start_workers=run.start_workers, on_progress=watched(progress.downloads),
            on_listing=progress.listing, checkpoint=opened,
        )  # fmt: skip
    seconds = time.monotonic() - started
    run.terminal.detail(f"{counts.rows:,} rows in {seconds:.3f} s, {counts.rows / seconds / 1e6:.1f} M rows/s")
    if counts.left_out:
        # The rows of a CSV cannot say it, so --quiet does not silence it there.
        (print_note if run.format is Format.csv else run.terminal.note)(skipped_text(counts))

    def table() -> CountsTable:
        from mockexport.cli.counts_table import counts_table

        return counts_table(export, counts, all_rows=run.all_rows, top=top)

    def report(about: About) -> str:
        from mockexport.report import counts_report

        return counts_report(document, about)

    document = counts_document(counts)
    run.write(document, table=table, csv=partial(counts_csv, counts))
    if run.report:
        run.report.write(run.source.name, export, report)
    if elapsed:
        print_note(f"elapsed: {seconds:.3f} s")


def counts_csv(counts: Counts) -> str:
    """Return the output of `count` as CSV; the column `unassigned` is there only if it is not empty."""
    rows = [(p, t, n) for p, types in sorted(counts.patients.items()) for t, n in sorted(types.items())]
    if not counts.unassigned:
        return csv_text(["patient_id", "event_type", "records"], rows)
    without = ((None, t, n, why) for t, whys in sorted(counts.unassigned.items()) for why, n in sorted(whys.items()))
    return csv_text(
        ["patient_id", "event_type", "records", "unassigned"], chain(((*row, None) for row in rows), without)
    )


@contextmanager
def open_checkpoint(
    path: Path | None, run: Run, export: str, *, skip_malformed: bool
) -> Generator[Checkpoint | None, None, None]:
    """Open the checkpoint, if any; say how to resume from it, and which downloads it cannot hold."""
    if path is None:
        yield None
        return
    from mockexport.pipeline import Checkpoint, Subject

    with Checkpoint(path, Subject(run.source.name, export, skip_malformed, run.csv, run.fhir)) as checkpoint:
        try:
            yield checkpoint
        except BaseException as error:
            if checkpoint.count and not isinstance(error, NotFoundError):  # else there is nothing to resume
                run.terminal.note(
                    f"{checkpoint.count} downloads are saved in {path}; run {run.same_command} again to resume"
                )
            raise
        finally:
            if checkpoint.nameless:
                run.terminal.note(
                    f"{checkpoint.nameless} downloads cannot be saved in {path}: the source has no strong ETag for them"
                )


@contextmanager
def suggest_checkpoint(run: Run, *, wanted: bool) -> Generator[Callable[[OnProgress], OnProgress], None, None]:
    """After Ctrl-C, say what a checkpoint would have kept; yield what has to be put around the OnProgress for that."""
    latest: list[tuple[Sequence[Download | Split], ProgressCounters]] = []

    def watched(show: OnProgress) -> OnProgress:
        def watch(parts: Sequence[Download | Split], counters: ProgressCounters) -> None:
            latest[:] = [(parts, counters)]
            show(parts, counters)

        return watch

    try:
        yield watched
    except KeyboardInterrupt:
        finished = sum(savable(*told) for told in latest)
        if wanted and finished:
            run.terminal.note(
                f"--checkpoint FILE would have saved the counts of {finished} finished downloads, to resume from"
            )
        raise


def savable(parts: Sequence[Download | Split], counters: ProgressCounters) -> int:
    """Return how many downloads are finished, with all their splits, and can be in a checkpoint."""
    downloads = [part if isinstance(part, Download) else part.download for part in parts]
    unfinished = {downloads[number].id for number in counters.unfinished()}
    return len({download.id for download in downloads if is_strong(download.etag)} - unfinished)


def skipped_text(counts: Counts) -> str:
    """Return how many malformed rows were skipped, by reason."""
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.left_out.items()))
    return f"skipped {sum(counts.left_out.values()):,} malformed rows: {reasons}"
