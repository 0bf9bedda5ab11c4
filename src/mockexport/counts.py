"""Counts, the answer to it all, and `count`, which gets it from a Source.

The way of the data: the downloads of an export become tasks, the workers run them side by side, each task streams one
download through a tally, and the counts of all tasks add up.
"""

from __future__ import annotations

import contextlib
import queue
from collections import Counter
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from mockexport.errors import MockExportError, NotFoundError, UntrustedDataError
from mockexport.kernels import choose_kernels
from mockexport.tally import REASONS, Malformed
from mockexport.workers import thread_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from mockexport.catalog import Download
    from mockexport.source import Source
    from mockexport.tally import Tallied, Tally
    from mockexport.workers import Board, StartWorkers

__all__ = ["Counts", "OnProgress", "count", "run_tasks", "tally_download"]

OnProgress: TypeAlias = "Callable[[Sequence[Download], Board], None]"
"""Called in the caller's own thread, ten times a second, with how far the workers are."""

T = TypeVar("T")
LOOK_SECONDS = 0.1  # how often progress is reported while nothing ends


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by patient and event type, and malformed rows left out by reason.

    Counts add up, in whatever order and grouping; `Counts()` is zero.
    """

    patients: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def sum(cls, parts: Iterable[Counts | Tallied]) -> Counts:
        """Add up many counts at once."""
        patients: dict[str, dict[str, int]] = {}
        left_out: Counter[str] = Counter()
        for part in parts:
            for patient, types in part.patients.items():
                known = patients.setdefault(patient, {})
                for event_type, n in types.items():
                    known[event_type] = known.get(event_type, 0) + n
            left_out.update(part.left_out)
        return cls(patients, dict(left_out))

    def __add__(self, other: Counts) -> Counts:
        return Counts.sum((self, other))

    @property
    def totals(self) -> dict[str, int]:
        """Records by event type, over all patients."""
        totals: Counter[str] = Counter()
        for types in self.patients.values():
            totals.update(types)
        return dict(totals)

    @property
    def rows(self) -> int:
        """All records that were counted."""
        return sum(sum(types.values()) for types in self.patients.values())


def count(
    source: Source,
    export: str = "demo",
    *,
    skip_malformed: bool = False,
    tally: type[Tally] | None = None,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
) -> Counts:
    """Count the records of an export by patient and event type, over all its downloads: exactly, or not at all.

    `skip_malformed` leaves malformed rows out, and counts them by reason, where they would end the count. `tally` is
    the twin that counts (the native one when there is one), `start_workers` what runs the downloads side by side.
    `on_progress` is called in the caller's own thread, ten times a second, with how far the workers are.

    Raises NotFoundError for an unknown export, UnreachableError and NotAuthorisedError for what the source can't get,
    and UntrustedDataError when a download is truncated, malformed (docs/wire.md, "Bad data"), or holds other than the
    declared number of rows. The first error stops all downloads.
    """
    tally = tally or choose_kernels().tally
    downloads = source.downloads(export)
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to count")
    tasks = [partial(count_download, source, download, tally, skip_malformed) for download in downloads]
    return Counts.sum(part for _, part in run_tasks(source, downloads, tasks, start_workers, on_progress))


def run_tasks(
    source: Source,
    downloads: Sequence[Download],
    tasks: Sequence[Callable[[Board, int], T]],
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> Generator[tuple[int, T], None, None]:
    """Run a task for each download side by side; yield each one's number and result as it ends.

    The first error, or the caller's going away, stops all the others.
    """
    # The largest first, so that the workers end at about the same time.
    order = sorted(range(len(downloads)), key=lambda i: -(downloads[i].rows or downloads[i].size or 0))
    ended: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    with start_workers(len(downloads)) as (executor, board):
        try:
            numbers = {}
            for i in order:
                future = executor.submit(tasks[i], board, i)
                numbers[future] = i
                future.add_done_callback(ended.put)
            while numbers:
                with contextlib.suppress(queue.Empty):
                    future = ended.get(timeout=LOOK_SECONDS)
                    yield numbers.pop(future), future.result()
                if on_progress:
                    on_progress(downloads, board)
        except BaseException as error:
            board.stop()
            source.close()  # wakes the tasks that wait for more bytes
            executor.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenExecutor):
                raise MockExportError("a worker process died; memory may be short: try fewer --jobs") from error
            raise


def count_download(
    source: Source, download: Download, tally: type[Tally], skip_malformed: bool, board: Board, number: int
) -> Counts:
    """Count one download; the task of one worker. Small in, small out, and all errors can travel."""
    tallied = tally_download(source, download, tally(skip=skip_malformed), board, number)
    return Counts(tallied.patients, tallied.left_out)


def tally_download(
    source: Source,
    download: Download,
    tally: Tally,
    board: Board,
    number: int,
    keep: Callable[[bytes], object] | None = None,
) -> Tallied:
    """Stream a download through a tally, and through `keep` too; check that it holds as many rows as declared."""
    where = f"download {download.id!r} of export {download.export!r}"
    try:
        with contextlib.closing(source.open(download)) as chunks:
            for chunk in chunks:
                tally.feed(chunk)
                if keep:
                    keep(chunk)
                board.advance(number, tally.rows, len(chunk))
        tallied = tally.finish()
    except Malformed as problem:
        hint = "; --on-malformed skip counts the rest" if problem.reason in REASONS else ""
        raise UntrustedDataError(f"{where} is malformed at {problem}{hint}") from None
    if download.rows is not None and download.rows != tally.rows:
        what = "it ended early" if tally.rows < download.rows else "it has grown"
        raise UntrustedDataError(
            f"{where} declares {download.rows:,} rows but holds {tally.rows:,}; {what}, or was declared wrongly"
        )
    board.end(number, tally.rows)
    return tallied
