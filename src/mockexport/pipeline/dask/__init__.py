"""Workers on many machines: those of a Dask cluster.

Dask schedules, queues, and does a dead worker's tasks again elsewhere. What is here: whether the workers can do the
work is checked first (`preflight`); a worker opens the source once, counts with its own kernel, tells how far a task
is, and ends it when it is cancelled (`worker`); and what goes wrong becomes our own errors (`executor`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mockexport.extras import needs_extra

with needs_extra("cluster"):
    import distributed  # noqa: F401 - before anything else of it

from mockexport.pipeline.dask.executor import ClusterWorkers
from mockexport.pipeline.dask.preflight import check, connected

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockexport.pipeline.executors import Workers
    from mockexport.source import Source

__all__ = ["cluster_workers"]

REPORTS_PER_SECOND = 500  # from all workers together
REPORT_SECONDS = 0.5  # between two of one task, at the least


@contextmanager
def cluster_workers(
    source: Source,
    tasks: int,
    rows: int = 0,  # noqa: ARG001
    *,
    scheduler: str,
    timeout: float = 30.0,
) -> Generator[Workers, None, None]:
    """Run tasks on the workers of the Dask scheduler at an address such as `tcp://host:8786`.

    Each worker must see `source` as this machine does. `timeout`, in seconds, bounds the wait for the scheduler, for
    its first worker, and later for each answer of the scheduler.

    Raises UnreachableError for a scheduler or workers that are not there, or were lost; UsageError for an address that
    is not valid, and for workers without this version of mockexport; and what a worker raises that cannot see the
    source.
    """
    with connected(scheduler, timeout) as client:
        threads = check(client, scheduler, source, timeout)
        pause = max(REPORT_SECONDS, threads / REPORTS_PER_SECOND)
        workers = ClusterWorkers(client, scheduler, source, tasks, pause, timeout)
        try:
            yield workers
        finally:
            workers.cancel()
