"""Runs over the downloads of a source: count, fetch, verify; on threads, processes or a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.pipeline.checkpoint import Checkpoint, Subject
    from mockexport.pipeline.counting import OnProgress, count
    from mockexport.pipeline.dask import cluster_workers
    from mockexport.pipeline.executors import Board, StartWorkers, process_workers, thread_workers, workers_for
    from mockexport.pipeline.fetching import Fetched, fetch
    from mockexport.pipeline.splits import Piece
    from mockexport.pipeline.verify import Committed, Difference, compare, read_committed

__all__ = [
    "Board",
    "Checkpoint",
    "Committed",
    "Difference",
    "Fetched",
    "OnProgress",
    "Piece",
    "StartWorkers",
    "Subject",
    "cluster_workers",
    "compare",
    "count",
    "fetch",
    "process_workers",
    "read_committed",
    "thread_workers",
    "workers_for",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "checkpoint": (
            "Checkpoint",
            "Subject",
        ),
        "counting": (
            "OnProgress",
            "count",
        ),
        "dask": ("cluster_workers",),
        "executors": (
            "Board",
            "StartWorkers",
            "process_workers",
            "thread_workers",
            "workers_for",
        ),
        "fetching": (
            "Fetched",
            "fetch",
        ),
        "splits": ("Piece",),
        "verify": (
            "Committed",
            "Difference",
            "compare",
            "read_committed",
        ),
    },
)
