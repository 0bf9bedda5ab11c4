"""Workers on many machines: a Dask cluster as one more `concurrent.futures.Executor`, with its Board.

Dask schedules, queues, and does a dead worker's tasks again elsewhere. What is here: whether the workers will do is
asked before any work (`joining`); a task travels small, for what a worker has of its own is only named (`travel`); it
tells how far it is, and ends when nobody wants it any more (`worker`); and what goes wrong becomes our own errors
(`executor`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mockexport.extras import needs_extra

with needs_extra("cluster"):
    import distributed  # noqa: F401 - before anything else of it

from mockexport.pipeline.dask.executor import CallerBoard, ClusterExecutor
from mockexport.pipeline.dask.preflight import check, connected
from mockexport.pipeline.dask.worker import TOPIC

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Executor

    from mockexport.pipeline.executors import Board
    from mockexport.source import Source

__all__ = ["cluster_workers"]

REPORTS_A_SECOND = 500  # from all workers together
REPORT_SECONDS = 0.5  # between two of one task, at the least


@contextmanager
def cluster_workers(
    tasks: int, _rows: int = 0, *, scheduler: str, source: Source, timeout: float = 30.0
) -> Generator[tuple[Executor, Board], None, None]:
    """Run tasks on the workers of the Dask scheduler at an address such as `tcp://host:8786`.

    `source` is what the tasks read; each worker must see it as we do. `timeout`, in seconds, bounds the wait for the
    scheduler, for its first worker, and later for a sign of life.

    Raises UnreachableError for a scheduler or workers that aren't there, or not any more; UsageError for an address
    that is none, and for workers without this version of mockexport; and what a worker that can't see the source says.
    """
    with connected(scheduler, timeout) as client:
        threads = check(client, scheduler, source, timeout)
        board = CallerBoard(tasks, max(REPORT_SECONDS, threads / REPORTS_A_SECOND))
        client.subscribe_topic(TOPIC, board.hear)
        executor = ClusterExecutor(client, scheduler, source, board, timeout)
        try:
            yield executor, board
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
