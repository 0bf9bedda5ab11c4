"""`count`: the records of an export by patient and event type.

The downloads of an export become tasks, workers run them in parallel, each task streams one download, or a split of a
large one, through a tally (folding.py), and the counts of all tasks add up.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from mockexport.errors import NotFoundError
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.folding import Folding, fold
from mockexport.pipeline.running import list_downloads
from mockexport.pipeline.total import RunningTotal
from mockexport.tally import CSV, FHIR, MAX_PAIRS, CountSpec, choose_tally

if TYPE_CHECKING:
    from mockexport.model import Counts
    from mockexport.pipeline.checkpoint import Checkpoint
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.source import Source
    from mockexport.tally import CsvFormat, FhirFormat

__all__ = ["count"]


def count(
    source: Source,
    export: str = "demo",
    *,
    skip_malformed: bool = False,
    max_pairs: int = MAX_PAIRS,
    kernel: str = "auto",
    csv: CsvFormat = CSV,
    fhir: FhirFormat = FHIR,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    on_listing: OnListing | None = None,
    checkpoint: Checkpoint | None = None,
) -> Counts:
    """Count the records of an export by patient and event type, over all its downloads: exactly, or not at all.

    `skip_malformed` leaves malformed rows out, and counts them by reason, where they would end the count. More
    than `max_pairs` distinct pairs of patient and type, or more than 256 bytes each on average, end it, so that memory
    is bounded. `kernel` says which tally counts: `native`, `pure`, or `auto` for the native one where it was built.
    `csv` names the columns that are counted by, and the delimiter; `fhir` says by what FHIR resources are counted.
    `start_workers` starts what reads the downloads in parallel. `on_progress` is called in the caller's own thread, ten
    times a second, with how far the workers are, and `on_listing` before, as the downloads are listed. `checkpoint`
    keeps what is finished, and spares what it has kept.

    Raises NotFoundError for an unknown export, UsageError for a kernel that was not built, UnreachableError and
    NotAuthorisedError for what the source cannot get, and UntrustedDataError when a download is truncated, malformed
    (docs/wire.md, "Bad data"; docs/fhir.md), holds other than the declared number of rows, or too many pairs. The first
    error stops all downloads.
    """
    choose_tally(kernel)  # an unknown one is an error before any work
    downloads = list_downloads(source, export, on_listing)
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to count")
    total = RunningTotal(max_pairs, f"export {export!r}")
    rows: dict[int, int] = {}
    if checkpoint:
        for number, download in enumerate(downloads):
            if kept := checkpoint.find(download):
                total.add(kept)
                rows[number] = kept.rows_seen
    run = Folding(
        source, downloads, CountSpec(kernel, skip_malformed, max_pairs, csv, fhir), partial(RunningTotal, max_pairs),
        start_workers, on_progress, rows,
    )  # fmt: skip
    with contextlib.closing(fold(run)) as folded:
        for number, counts in folded:
            total.add(counts)
            if checkpoint:
                checkpoint.keep(downloads[number], counts)
    return total.result
