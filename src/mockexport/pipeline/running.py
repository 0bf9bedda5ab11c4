"""Run tasks on workers: the loop that hands them out, takes their results and reports progress."""

from __future__ import annotations

import contextlib
import queue
import time
from concurrent.futures import BrokenExecutor, wait
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from mockexport.errors import MockExportError, Remedy
from mockexport.pipeline.executors import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from concurrent.futures import Future

    from mockexport.model import Download
    from mockexport.pipeline.executors import StartWorkers, Work
    from mockexport.pipeline.progress import ProgressCounters
    from mockexport.pipeline.splits import Split
    from mockexport.source import Source

__all__ = ["OnListing", "OnProgress", "list_downloads", "run_tasks"]

OnListing: TypeAlias = "Callable[[int, int | None], None]"
"""Called as downloads are listed, with how many there are by now, and how many there will be, if that is known."""

OnProgress: TypeAlias = "Callable[[Sequence[Download | Split], ProgressCounters], None]"
"""Called in the caller's own thread, ten times a second, with the tasks' downloads or splits and their counters."""

R = TypeVar("R")
T = TypeVar("T", bound=Task)
GRACE_SECONDS = 2.0  # for tasks to end that were cancelled
BYTES_PER_ROW = 45  # about, where rows are not declared
POLL_SECONDS = 0.1  # how often progress is reported
IN_FLIGHT = 10_000  # tasks handed out at a time: work for thousands of workers, and no more than a scheduler holds well


def list_downloads(source: Source, export: str, on_listing: OnListing | None) -> list[Download]:
    """Return the downloads of an export."""
    listing = iter(source.downloads(export))
    total = length_hint(listing) or None
    downloads = []
    for download in listing:
        downloads.append(download)
        if on_listing:
            on_listing(len(downloads), total)
    return downloads


def run_tasks(
    source: Source,
    work: Work[T, R],
    tasks: Sequence[T],
    parts: Sequence[Download | Split],
    start_workers: StartWorkers,
    on_progress: OnProgress | None = None,
    finished: Mapping[int, int] | None = None,
) -> Generator[tuple[T, R], None, None]:
    """Run `work(source, task, progress)` for each task, in parallel; yield each task and its result as it ends.

    `parts` has what each task reads, by its number. `finished` has the rows of those that need no task, for whoever
    watches the progress. The first error, or closing the generator, cancels all other tasks.
    """
    # The largest first, so that the workers end at about the same time.
    rest = iter(sorted(tasks, key=lambda task: -(parts[task.number].rows or parts[task.number].size or 0)))
    ended: queue.SimpleQueue[Future[R]] = queue.SimpleQueue()
    with start_workers(source, len(parts), sum(_rows_about(parts[task.number]) for task in tasks)) as workers:
        for number, rows in (finished or {}).items():
            workers.counters.keep(number, rows, parts[number].size or 0)
            workers.counters.finish(number, rows)
        in_flight: dict[Future[R], T] = {}
        next_report = 0.0
        try:
            while True:
                for task in islice(rest, IN_FLIGHT - len(in_flight)):
                    future = workers.submit(work, task)
                    in_flight[future] = task
                    future.add_done_callback(ended.put)
                if not in_flight:
                    break
                with contextlib.suppress(queue.Empty):
                    future = ended.get(timeout=POLL_SECONDS)
                    yield in_flight.pop(future), future.result()
                if on_progress and (not in_flight or time.monotonic() >= next_report):
                    on_progress(parts, workers.counters)
                    next_report = time.monotonic() + POLL_SECONDS
        except BaseException as error:
            workers.cancel()
            wait(in_flight, timeout=GRACE_SECONDS)  # files and connections are closed before the error is raised
            if isinstance(error, BrokenExecutor):
                raise MockExportError("a worker process died; memory may be short", remedy=Remedy.FEWER_JOBS) from error
            raise


def _rows_about(part: Download | Split) -> int:
    return part.rows or (part.size or 0) // BYTES_PER_ROW
