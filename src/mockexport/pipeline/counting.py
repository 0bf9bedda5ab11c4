"""`count`: the records of an export by patient and event type.

The downloads of an export become tasks, workers run them in parallel, each task streams one download, or a split of a
large one, through a tally, and the counts of all tasks add up.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mockexport.errors import NotFoundError
from mockexport.model import Counts, Download
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.reading import describe, read_download
from mockexport.pipeline.running import list_downloads, run_tasks
from mockexport.pipeline.splits import Split, SplitResult, are_contiguous, read_split, split_download
from mockexport.pipeline.total import RunningTotal
from mockexport.tally import CSV, FHIR, MAX_PAIRS, CountSpec, choose_tally

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from mockexport.pipeline.checkpoint import Checkpoint
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.source import Source
    from mockexport.tally import CsvFormat, FhirFormat, ResourceSpec, TallySpec

__all__ = ["CountTask", "count", "count_task"]

log = logging.getLogger(__name__)


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
    spec = CountSpec(kernel, skip_malformed, max_pairs, csv, fhir)
    run = _Run(source, downloads, spec, start_workers, on_progress)
    total = RunningTotal(max_pairs, f"export {export!r}")
    if checkpoint:
        for number, download in enumerate(downloads):
            if kept := checkpoint.find(download):
                total.add(kept)
                run.counted[number] = kept.rows_seen

    def take(counted: Iterable[tuple[int, Counts]]) -> None:
        for number, counts in counted:
            total.add(counts)
            run.counted[number] = counts.rows_seen
            if checkpoint:
                checkpoint.keep(downloads[number], counts)

    take(count_in_splits(run))
    take(count_whole(run))
    return total.counts


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of `count`: what it reads, with what, and the rows of each download that is counted."""

    source: Source
    downloads: Sequence[Download]
    spec: CountSpec
    start_workers: StartWorkers
    on_progress: OnProgress | None
    counted: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CountTask:
    """What to count, a download or a split of one, and with what."""

    number: int
    part: Download | Split
    spec: TallySpec | ResourceSpec


def count_task(source: Source, task: CountTask, progress: TaskProgress) -> Counts | SplitResult[Counts] | None:
    """Do a task, in a worker; None for a split whose byte range alone cannot tell its rows."""
    if isinstance(task.part, Split):
        result: SplitResult[Counts] | None = read_split(source, task.part, task.spec, progress)
        return result
    counts, _ = read_download(source, task.part, task.spec, progress)
    return counts


def count_in_splits(run: _Run) -> Generator[tuple[int, Counts], None, None]:
    """Count the downloads that are not counted yet, the large ones in splits; yield the number and counts of each.

    One whose splits are not contiguous is left out.
    """
    parts: list[Download | Split] = []
    number_of: list[int] = []  # of each part's download
    splits: dict[int, dict[int, SplitResult[Counts] | None]] = {}  # of each download in splits, by their tasks
    expected: dict[int, int] = {}  # how many
    for number, download in enumerate(run.downloads):
        found = [download] if number in run.counted else split_download(run.source, download, run.spec.of(download))
        if len(found) > 1:
            splits[number], expected[number] = {}, len(found)
        parts += found
        number_of += [number] * len(found)
    totals = {number: RunningTotal(run.spec.max_pairs, describe(run.downloads[number])) for number in splits}
    with contextlib.closing(_run_parts(run, parts, number_of)) as ended:
        for task, result in ended:
            number = number_of[task]
            if isinstance(result, Counts):
                yield number, result
                continue
            if result:
                totals[number].add(result.result)
                result = replace(result, result=Counts())  # noqa: PLW2901 - what was added is held no longer
            splits[number][task] = result
            if len(splits[number]) == expected[number]:
                download, counts = run.downloads[number], totals.pop(number).counts
                if are_contiguous(download, [result for _, result in sorted(splits.pop(number).items())]):
                    yield number, counts
                else:
                    log.info("%s could not be counted in splits; reading it whole", describe(download))


def count_whole(run: _Run) -> Generator[tuple[int, Counts], None, None]:
    """Count the downloads that are not counted yet, each of them whole; yield the number and counts of each."""
    with contextlib.closing(_run_parts(run, run.downloads, range(len(run.downloads)))) as ended:
        for task, result in ended:
            if isinstance(result, Counts):
                yield task, result


def _run_parts(
    run: _Run, parts: Sequence[Download | Split], number_of: Sequence[int]
) -> Generator[tuple[int, Counts | SplitResult[Counts] | None], None, None]:
    """Run a task for each part of a download that is not counted yet; yield each one's number and result."""
    finished: dict[int, int] = {}
    tasks: list[CountTask] = []
    for task, (part, number) in enumerate(zip(parts, number_of, strict=True)):
        if number in run.counted:
            finished[task] = run.counted[number]
        else:
            tasks.append(CountTask(task, _small(part), run.spec.of(run.downloads[number])))
    if not tasks:
        return
    with contextlib.closing(
        run_tasks(run.source, count_task, tasks, parts, run.start_workers, run.on_progress, finished)
    ) as ended:
        for done, result in ended:
            yield done.number, result


def _small(part: Download | Split) -> Download | Split:
    """Leave out of a download what only listings show; it may be much."""
    return replace(part, patients=None, event_types=None) if isinstance(part, Download) else part
