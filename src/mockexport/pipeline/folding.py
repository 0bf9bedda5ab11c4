"""Fold the downloads of an export through accumulators, the large ones in splits: for each, a result, or an error."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mockexport.model import Download
from mockexport.pipeline.reading import describe, read_download
from mockexport.pipeline.running import run_tasks
from mockexport.pipeline.splits import Split, SplitResult, are_contiguous, read_split, split_download
from mockexport.tally import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.pipeline.running import OnProgress
    from mockexport.source import Source
    from mockexport.tally import AccumulatorSpec

__all__ = ["FoldTask", "Folding", "Total", "WholeResult", "fold", "fold_task"]

R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)
log = logging.getLogger(__name__)
NOTHING: Any = None


class Total(Protocol[R]):
    """A sum of results that grows."""

    def add(self, part: R, /) -> None:
        """Add a result. Raises UntrustedDataError when the sum has more than its limits allow."""

    @property
    def result(self) -> R:
        """What the sum is."""


class SpecOf(Protocol[R_co]):
    """What makes accumulators for each download of an export."""

    def of(self, download: Download, /) -> AccumulatorSpec[R_co]:
        """Return what makes the accumulators of a download, by its format."""


def as_it_is(result: R, _download: int, _begin: int) -> R:
    """Return a result that does not tell where it is from."""
    return result


@dataclass(frozen=True, slots=True)
class Folding(Generic[R]):
    """How to fold the downloads of an export.

    `spec` makes the accumulators, and `new_total` a sum, for what a name describes. `place` gives a result the number
    of its download and the byte at which its part begins, where results tell that. `rows` has the rows of the downloads
    that need no folding, by their numbers, and gets those of the others as they are folded.
    """

    source: Source
    downloads: Sequence[Download]
    spec: SpecOf[R]
    new_total: Callable[[str], Total[R]]
    start_workers: StartWorkers
    on_progress: OnProgress | None
    rows: dict[int, int]
    place: Callable[[R, int, int], R] = as_it_is


@dataclass(frozen=True, slots=True)
class FoldTask:
    """What to fold, a download or a split of one, and with what."""

    number: int
    part: Download | Split
    spec: AccumulatorSpec[Any]


@dataclass(frozen=True, slots=True)
class WholeResult(Generic[R_co]):
    """What the rows of a download come to, and how many they are."""

    result: R_co
    rows: int


def fold(run: Folding[R]) -> Generator[tuple[int, R], None, None]:
    """Yield the number and the result of each download, as it ends: first in splits, then those whose splits fail.

    Raises what `read_download` raises. The first error stops all downloads.
    """
    yield from _fold_in_splits(run)
    yield from _fold_whole(run)


def fold_task(source: Source, task: FoldTask, progress: TaskProgress) -> WholeResult[Any] | SplitResult[Any] | None:
    """Do a task, in a worker; None for a split whose byte range alone cannot tell its rows."""
    if isinstance(task.part, Split):
        return read_split(source, task.part, task.spec, progress)
    return WholeResult(*read_download(source, task.part, task.spec, progress))


def _fold_in_splits(run: Folding[R]) -> Generator[tuple[int, R], None, None]:
    """Fold the downloads that are not folded yet, the large ones in splits; leave out those that are not contiguous."""
    parts: list[Download | Split] = []
    number_of: list[int] = []  # of each part's download
    splits: dict[int, dict[int, SplitResult[Any] | None]] = {}  # of each download in splits, by their tasks
    expected: dict[int, int] = {}  # how many
    for number, download in enumerate(run.downloads):
        found = [download] if number in run.rows else split_download(run.source, download, run.spec.of(download))
        if len(found) > 1:
            splits[number], expected[number] = {}, len(found)
        parts += found
        number_of += [number] * len(found)
    totals = {number: run.new_total(describe(run.downloads[number])) for number in splits}
    with contextlib.closing(_run_parts(run, parts, number_of)) as ended:
        for task, result in ended:
            number = number_of[task]
            if isinstance(result, WholeResult):
                yield number, _whole(run, number, result)
                continue
            if result:
                totals[number].add(run.place(result.result, number, result.begin))
                result = replace(result, result=NOTHING)  # noqa: PLW2901 - what was added is held no longer
            splits[number][task] = result
            if len(splits[number]) == expected[number]:
                download, total = run.downloads[number], totals.pop(number)
                read = [result for _, result in sorted(splits.pop(number).items())]
                if are_contiguous(download, read):
                    run.rows[number] = sum(result.rows for result in read if result)
                    yield number, total.result
                else:
                    log.info("%s could not be read in splits; reading it whole", describe(download))


def _fold_whole(run: Folding[R]) -> Generator[tuple[int, R], None, None]:
    """Fold the downloads that are not folded yet, each of them whole."""
    with contextlib.closing(_run_parts(run, run.downloads, range(len(run.downloads)))) as ended:
        for number, result in ended:
            if isinstance(result, WholeResult):
                yield number, _whole(run, number, result)


def _whole(run: Folding[R], number: int, result: WholeResult[R]) -> R:
    run.rows[number] = result.rows
    return run.place(result.result, number, 0)


def _run_parts(
    run: Folding[R], parts: Sequence[Download | Split], number_of: Sequence[int]
) -> Generator[tuple[int, WholeResult[R] | SplitResult[R] | None], None, None]:
    """Run a task for each part of a download that is not folded yet; yield each one's number and result."""
    finished: dict[int, int] = {}
    tasks: list[FoldTask] = []
    for task, (part, number) in enumerate(zip(parts, number_of, strict=True)):
        if number in run.rows:
            finished[task] = run.rows[number]
        else:
            tasks.append(FoldTask(task, _small(part), run.spec.of(run.downloads[number])))
    if not tasks:
        return
    with contextlib.closing(
        run_tasks(run.source, fold_task, tasks, parts, run.start_workers, run.on_progress, finished)
    ) as ended:
        for done, result in ended:
            yield done.number, result


def _small(part: Download | Split) -> Download | Split:
    """Leave out of a download what only listings show; it may be much."""
    return replace(part, patients=None, event_types=None) if isinstance(part, Download) else part
