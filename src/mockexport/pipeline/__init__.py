"""Runs over the downloads of a source: count, statistics, fetch, verify; on threads, processes or a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.pipeline.checkpoint import Checkpoint, Subject
    from mockexport.pipeline.counting import count
    from mockexport.pipeline.dask import cluster_workers
    from mockexport.pipeline.executors import StartWorkers, Workers, process_workers, thread_workers, workers_for
    from mockexport.pipeline.fetching import Fetched, Kept, fetch, kept_in
    from mockexport.pipeline.progress import BUSY, LOST, ProgressCounters, TaskStatus
    from mockexport.pipeline.reconciling import MEMORY, reconcile
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.pipeline.splits import Split
    from mockexport.pipeline.stats import SORT_MEMORY, Figures, Statistics, statistics
    from mockexport.pipeline.verify import Committed, Difference, compare, read_committed
    from mockexport.pipeline.verify_stats import (
        CommittedStatistics,
        compare_statistics,
        is_statistics,
        read_committed_statistics,
    )

__all__ = [
    "BUSY",
    "LOST",
    "MEMORY",
    "SORT_MEMORY",
    "Checkpoint",
    "Committed",
    "CommittedStatistics",
    "Difference",
    "Fetched",
    "Figures",
    "Kept",
    "OnListing",
    "OnProgress",
    "ProgressCounters",
    "Split",
    "StartWorkers",
    "Statistics",
    "Subject",
    "TaskStatus",
    "Workers",
    "cluster_workers",
    "compare",
    "compare_statistics",
    "count",
    "fetch",
    "is_statistics",
    "kept_in",
    "process_workers",
    "read_committed",
    "read_committed_statistics",
    "reconcile",
    "statistics",
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
        "counting": ("count",),
        "dask": ("cluster_workers",),
        "executors": (
            "StartWorkers",
            "Workers",
            "process_workers",
            "thread_workers",
            "workers_for",
        ),
        "fetching": (
            "Fetched",
            "Kept",
            "fetch",
            "kept_in",
        ),
        "progress": (
            "BUSY",
            "LOST",
            "ProgressCounters",
            "TaskStatus",
        ),
        "reconciling": (
            "MEMORY",
            "reconcile",
        ),
        "running": (
            "OnListing",
            "OnProgress",
        ),
        "splits": ("Split",),
        "stats": (
            "SORT_MEMORY",
            "Figures",
            "Statistics",
            "statistics",
        ),
        "verify": (
            "Committed",
            "Difference",
            "compare",
            "read_committed",
        ),
        "verify_stats": (
            "CommittedStatistics",
            "compare_statistics",
            "is_statistics",
            "read_committed_statistics",
        ),
    },
)
