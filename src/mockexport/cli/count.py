"""The command `mockexport count`: the main job."""

from __future__ import annotations

import time
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mockexport.cli.documents import counts_document
from mockexport.cli.options import MaxPairsOption, Run, complete_export, takes_run
from mockexport.cli.output import csv_text
from mockexport.tally import MAX_PAIRS

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.table import Table

    from mockexport.model import Counts
    from mockexport.pipeline import Checkpoint

__all__ = ["EXAMPLES", "OnMalformed", "count_command", "left_out_text"]

EXAMPLES = """\b
Examples:
  mockexport count                              the export demo, made up here
  mockexport count small -o small.json          keep the answer in a file
  mockexport count large --format table         patients by types, in colour
  mockexport count large -s http://host:8000    from a server
  mockexport count trial -s exports             from exports/trial/*.csv
"""


class OnMalformed(StrEnum):
    """What a malformed row does."""

    fail = "fail"
    skip = "skip"


@takes_run(works=True, on_cluster=True)
def count_command(
    run: Run,
    export: Annotated[
        str, typer.Argument(metavar="EXPORT", help="The export's id.", autocompletion=complete_export)
    ] = "demo",
    on_malformed: Annotated[
        OnMalformed,
        typer.Option("--on-malformed", help="End at a malformed row, or leave it out and say so."),
    ] = OnMalformed.fail,
    max_pairs: MaxPairsOption = MAX_PAIRS,
    elapsed: Annotated[bool, typer.Option("--time", "-t", help='Add "elapsed_seconds" to the JSON.')] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            show_default=False,
            help="Keep finished downloads there; run again, go on from there.",
        ),
    ] = None,
) -> None:
    """Count the records of an export by patient and event type, over all its downloads: exactly, or not at all."""
    from mockexport.pipeline import count

    started = time.monotonic()
    skip_malformed = on_malformed is OnMalformed.skip
    with (
        keeping(checkpoint, run, export, skip_malformed=skip_malformed) as kept,
        run.terminal.progress(export) as on_progress,
    ):
        counts = count(
            run.source, export, skip_malformed=skip_malformed, max_pairs=max_pairs, kernel=run.kernel,
            start_workers=run.start_workers, on_progress=on_progress, checkpoint=kept,
        )  # fmt: skip
    seconds = time.monotonic() - started
    run.terminal.detail(f"{counts.rows:,} rows in {seconds:.3f} s, {counts.rows / seconds / 1e6:.1f} M rows/s")
    if counts.left_out:
        run.terminal.note(left_out_text(counts))

    def table() -> Table:
        from mockexport.cli.tables import counts_table

        return counts_table(export, counts)

    def csv() -> str:
        rows = ((p, t, n) for p, types in sorted(counts.patients.items()) for t, n in sorted(types.items()))
        return csv_text(["patient_id", "event_type", "records"], rows)

    run.answer(counts_document(counts, seconds if elapsed else None), table=table, csv=csv)


@contextmanager
def keeping(
    path: Path | None, run: Run, export: str, *, skip_malformed: bool
) -> Generator[Checkpoint | None, None, None]:
    """Open a checkpoint, if one is wanted; say how to go on from it, and what can't be kept in it."""
    if path is None:
        yield None
        return
    from mockexport.pipeline import Checkpoint, Subject

    with Checkpoint(path, Subject(run.source.name, export, skip_malformed)) as checkpoint:
        try:
            yield checkpoint
        except BaseException:
            run.terminal.note(f"{checkpoint.count} downloads are kept in {path}; the same command goes on from there")
            raise
        finally:
            if checkpoint.nameless:
                run.terminal.note(
                    f"{checkpoint.nameless} downloads are not kept in {path} and are counted again each time: "
                    "the source names their bytes by no strong ETag"
                )


def left_out_text(counts: Counts) -> str:
    """Say how many malformed rows were left out, by reason."""
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.left_out.items()))
    return f"left out {sum(counts.left_out.values()):,} malformed rows: {reasons}"
