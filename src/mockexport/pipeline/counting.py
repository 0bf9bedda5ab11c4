"""Counts, the answer to it all, and `count`, which gets it from a Source.

The way of the data: the downloads of an export become tasks, the workers run them side by side, each task streams one
download through a tally, and the counts of all tasks add up.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from concurrent.futures import BrokenExecutor, wait
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from mockexport.errors import MockExportError, NotFoundError, NotResumableError, UntrustedDataError
from mockexport.model import Counts
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.splits import Piece, fit_together, split, tally_piece
from mockexport.pipeline.total import RunningTotal
from mockexport.tally import MAX_PAIRS, REASONS, Malformed, choose_tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from concurrent.futures import Future

    from mockexport.model import Download
    from mockexport.pipeline.checkpoint import Checkpoint
    from mockexport.pipeline.executors import Board, StartWorkers
    from mockexport.pipeline.splits import Span, TalliedPiece
    from mockexport.source import Source
    from mockexport.tally import Tallied, Tally

__all__ = ["OnProgress", "Sink", "count", "run_tasks", "tally_download"]

OnProgress: TypeAlias = "Callable[[Sequence[Download], Board], None]"
"""Called in the caller's own thread, ten times a second, with how far the workers are."""

T = TypeVar("T")
log = logging.getLogger(__name__)
RESTARTS = 5  # of one body, where its source can't go on with it
GRACE_SECONDS = 2.0  # for tasks to end that nobody wants any more
BYTES_A_ROW = 45  # about, where rows are not declared
LOOK_SECONDS = 0.1  # how often progress is reported
IN_FLIGHT = 10_000  # tasks handed out at a time: work for thousands of workers, and no more than a scheduler holds well


def count(
    source: Source,
    export: str = "demo",
    *,
    skip_malformed: bool = False,
    max_pairs: int = MAX_PAIRS,
    kernel: str = "auto",
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Counts:
    """Count the records of an export by patient and event type, over all its downloads: exactly, or not at all.

    `skip_malformed` leaves malformed rows out, and counts them by reason, where they would end the count. More
    than `max_pairs` distinct pairs of patient and type, or more than 256 bytes each on average, end it, so that memory
    is bounded. `tally` is the twin that counts (the native one when there is one), `start_workers` what runs the
    downloads side by side. `on_progress` is called in the caller's own thread, ten times a second, with how far the
    workers are. `checkpoint` keeps what is finished, and spares what it has kept.

    Raises NotFoundError for an unknown export, UnreachableError and NotAuthorisedError for what the source can't get,
    and UntrustedDataError when a download is truncated, malformed (docs/wire.md, "Bad data"), holds other than the
    declared number of rows, or too many pairs. The first error stops all downloads.
    """
    new_tally = partial(choose_tally(kernel), skip=skip_malformed, max_pairs=max_pairs)
    downloads = list(source.downloads(export))
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to count")
    total = RunningTotal(max_pairs, f"export {export!r}")
    counted: dict[int, int] = {}  # the rows of each download that is in the total
    if checkpoint:
        for number, download in enumerate(downloads):
            if kept := checkpoint.find(download):
                total.add(kept)
                counted[number] = kept.rows_seen
    # Large downloads in pieces first; then in one go, where the pieces didn't fit together.
    for in_pieces in (True, False):
        if len(counted) < len(downloads):
            parts = [
                split(source, download, new_tally) if in_pieces and number not in counted else [download]
                for number, download in enumerate(downloads)
            ]
            for number, counts in _count_parts(
                source, parts, counted, new_tally, max_pairs, start_workers, on_progress
            ):
                total.add(counts)
                counted[number] = counts.rows_seen
                if checkpoint:
                    checkpoint.keep(downloads[number], counts)
    return total.counts


def _count_parts(
    source: Source,
    parts: Sequence[Sequence[Download]],
    counted: Mapping[int, int],
    new_tally: Callable[[], Tally],
    max_pairs: int,
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> Generator[tuple[int, Counts], None, None]:
    """Count the parts of each download, side by side; yield a download's number and counts once all are counted.

    `counted` has the rows of those that are. One whose pieces don't fit together is left out.
    """
    flat = [(number, part) for number, download_parts in enumerate(parts) for part in download_parts]
    done = {i: counted[number] for i, (number, _) in enumerate(flat) if number in counted}
    tasks: dict[int, Callable[[Board, int], Counts | TalliedPiece | None]] = {
        i: partial(tally_piece, source, part, new_tally)
        if isinstance(part, Piece)
        else partial(count_download, source, part, new_tally)
        for i, (number, part) in enumerate(flat)
        if number not in counted
    }
    totals = {number: RunningTotal(max_pairs, where(part.whole)) for number, part in flat if isinstance(part, Piece)}
    spans: dict[int, dict[int, Span | None]] = {number: {} for number in totals}
    labels = [part for _, part in flat]
    with contextlib.closing(run_tasks(source, labels, tasks, start_workers, on_progress, done)) as ended:
        for i, result in ended:
            number, part = flat[i]
            if isinstance(result, Counts):
                yield number, result
                continue
            spans[number][i] = result.span if result else None
            if result:
                totals[number].add(result.tallied)
            if isinstance(part, Piece) and len(spans[number]) == len(parts[number]):
                counts = totals.pop(number).counts
                if fit_together(part.whole, [span for _, span in sorted(spans.pop(number).items())]):
                    yield number, counts
                else:
                    log.info("%s could not be counted in pieces; once more, in one go", where(part.whole))


def run_tasks(
    source: Source,
    downloads: Sequence[Download],
    tasks: Mapping[int, Callable[[Board, int], T]],
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
    done: Mapping[int, int] | None = None,
) -> Generator[tuple[int, T], None, None]:
    """Run a task for each download, by its number, side by side; yield each one's number and result as it ends.

    `done` tells the rows of downloads that need no task, for whoever watches the progress. The first error, or the
    caller's going away, stops all the others.
    """
    # The largest first, so that the workers end at about the same time.
    rest = iter(sorted(tasks, key=lambda i: -(downloads[i].rows or downloads[i].size or 0)))
    ended: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    with start_workers(len(downloads), sum(_rows_about(downloads[i]) for i in tasks)) as (executor, board):
        for number, rows in (done or {}).items():
            board.end(number, rows)
        numbers: dict[Future[T], int] = {}
        next_look = 0.0
        try:
            while True:
                for i in islice(rest, IN_FLIGHT - len(numbers)):
                    future = executor.submit(tasks[i], board, i)
                    numbers[future] = i
                    future.add_done_callback(ended.put)
                if not numbers:
                    break
                with contextlib.suppress(queue.Empty):
                    future = ended.get(timeout=LOOK_SECONDS)
                    yield numbers.pop(future), future.result()
                if on_progress and (not numbers or time.monotonic() >= next_look):
                    on_progress(downloads, board)
                    next_look = time.monotonic() + LOOK_SECONDS
        except BaseException as error:
            board.stop()
            source.close()  # wakes the tasks that wait for more bytes
            executor.shutdown(wait=False, cancel_futures=True)
            wait(numbers, timeout=GRACE_SECONDS)  # so that files and connections are closed before anyone hears of it
            source.close()  # once more, for a task that was just about to connect
            if isinstance(error, BrokenExecutor):
                raise MockExportError("a worker process died; memory may be short: try fewer --jobs") from error
            raise


def _rows_about(download: Download) -> int:
    return download.rows or (download.size or 0) // BYTES_A_ROW


def count_download(
    source: Source, download: Download, new_tally: Callable[[], Tally], board: Board, number: int
) -> Counts:
    """Count one download; the task of one worker. Small in, small out, and all errors can travel."""
    tallied, _ = tally_download(source, download, new_tally, board, number)
    return Counts(tallied.patients, tallied.left_out)


class Sink(Protocol):
    """Where a download's bytes are kept."""

    def begin(self, tally: Tally, *, anew: bool) -> int:
        """Feed what is there already to the tally, and return how many bytes that is; none, if it is to begin anew."""

    def write(self, chunk: bytes, /) -> None:
        """Keep the next bytes."""


class _MismatchError(UntrustedDataError):
    """A body that came to an end, but not to the one declared; another reading may do better."""


def tally_download(
    source: Source,
    download: Download,
    new_tally: Callable[[], Tally],
    board: Board,
    number: int,
    sink: Sink | None = None,
) -> tuple[Tallied, int]:
    """Stream a download through a tally; return what it counted and how many rows it saw, as many as declared.

    A source may say that its body must be read from its start, and a body that ended wrongly gets a second reading;
    each has a tally of its own. `sink` is where the bytes are kept.
    """
    restarts, mismatches = 0, 0
    while True:
        board.restart(number)
        try:
            tally = new_tally()
            offset = sink.begin(tally, anew=restarts + mismatches > 0) if sink else 0
            tallied, rows = _tally_once(source, download, offset, tally, board, number, sink)
        except NotResumableError as problem:
            restarts += 1
            if restarts > RESTARTS:
                raise
            log.info("%s; from the start", problem)
        except _MismatchError as problem:
            mismatches += 1
            if mismatches > 1:
                raise UntrustedDataError(str(problem)) from None
            log.info("%s; once more, from the start", problem)
        else:
            board.end(number, rows)
            return tallied, rows
        board.try_again(number)


def _tally_once(
    source: Source,
    download: Download,
    offset: int,
    tally: Tally,
    board: Board,
    number: int,
    sink: Sink | None,
) -> tuple[Tallied, int]:
    name = where(download)
    declared = download.rows
    ended = False
    try:
        with contextlib.closing(source.open(download, offset)) as chunks:
            for chunk in chunks:
                if not chunk:
                    board.try_again(number)
                tally.feed(chunk)
                if sink:
                    sink.write(chunk)
                board.advance(number, tally.rows, len(chunk))
                if declared is not None and tally.rows > declared:
                    raise _MismatchError(f"{name} declares {declared:,} rows but holds {tally.rows:,} or more")
        ended = True
        tallied = tally.finish()
    except Malformed as problem:
        hint = "; --on-malformed skip counts the rest" if problem.reason in REASONS else ""
        text = f"{name} is malformed at {problem}{hint}"
        raise (_MismatchError(text) if ended else UntrustedDataError(text)) from None
    if declared is not None and declared != tally.rows:
        raise _MismatchError(
            f"{name} declares {declared:,} rows but holds {tally.rows:,}; it ended early, or was declared wrongly"
        )
    return tallied, tally.rows


def where(download: Download) -> str:
    """Name a download as errors do."""
    return f"download {download.id!r} of export {download.export!r}"
