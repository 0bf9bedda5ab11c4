"""What runs tasks in parallel: threads and processes, each a `concurrent.futures.Executor` whose workers have a source.

Threads are enough where the work releases the GIL, as the native parts do; the pure ones need processes.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from mockexport.pipeline.log_pipe import LogToPipe, logged_here
from mockexport.pipeline.progress import ProgressCounters, TaskProgress
from mockexport.source import CancelToken, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, MutableSequence
    from concurrent.futures import Executor, Future
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

    from mockexport.source import Source

__all__ = [
    "LocalWorkers",
    "StartWorkers",
    "Task",
    "Work",
    "Workers",
    "default_jobs",
    "process_workers",
    "thread_workers",
    "workers_for",
]

GRACE_SECONDS = 2.0  # for a process to end by itself
ROWS_FOR_PROCESSES = 20_000_000  # 0.9 GB: there starting processes takes about as long as they save


class Task(Protocol):
    """What one run of a `Work` is to do, as a small value that can be pickled."""

    @property
    def number(self) -> int:
        """The number of its counters."""


R = TypeVar("R")
T = TypeVar("T", bound=Task)
Work: TypeAlias = "Callable[[Source, T, TaskProgress], R]"
"""A function at the top level of a module that does a task, and returns a result that can be pickled."""


class Workers(Protocol):
    """Workers that have been given a source, and wait for tasks."""

    @property
    def counters(self) -> ProgressCounters:
        """How far the tasks are."""

    def submit(self, work: Work[T, R], task: T) -> Future[R]:
        """Have a task done: `work(source, task, progress)`, in a worker."""

    def cancel(self) -> None:
        """Cancel all tasks: those that wait never begin, those that run end at their next step."""


StartWorkers: TypeAlias = "Callable[[Source, int, int], AbstractContextManager[Workers]]"
"""Starts workers that read a source: for so many tasks, over so many rows in all (0 when that is not known)."""


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """Workers of this machine; the contract is `Workers`."""

    counters: ProgressCounters
    executor: Executor
    cancel_token: CancelToken
    source: Source | None = None  # None: each worker process has its own
    futures: set[Future[Any]] = field(default_factory=set)

    def submit(self, work: Work[T, R], task: T) -> Future[R]:
        """Have a task done."""
        if self.source is None:
            future = self.executor.submit(_run_in_process, work, task)
        else:
            progress = TaskProgress(self.counters, task.number, self.cancel_token)
            future = self.executor.submit(work, self.source, task, progress)
        self.futures.add(future)
        future.add_done_callback(self.futures.discard)
        return future

    def cancel(self) -> None:
        """Cancel all tasks."""
        self.cancel_token.cancel()
        for future in list(self.futures):
            future.cancel()


def default_jobs() -> int:
    """Return how many processors there are for us."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


@contextmanager
def thread_workers(
    source: Source,
    tasks: int,
    rows: int = 0,  # noqa: ARG001
    *,
    jobs: int | None = None,
) -> Generator[Workers, None, None]:
    """Run tasks on threads of this process, which share the source."""
    from concurrent.futures import ThreadPoolExecutor

    keep_freed_memory()
    executor = ThreadPoolExecutor(max(1, min(tasks, jobs or default_jobs())))
    workers = LocalWorkers(ProgressCounters(tasks), executor, CancelToken(), source)
    try:
        yield workers
    except BaseException:  # the threads end by themselves, at their next step
        workers.cancel()
        executor.shutdown(wait=False)
        raise
    executor.shutdown()


@contextmanager
def process_workers(
    source: Source,
    tasks: int,
    rows: int = 0,  # noqa: ARG001
    *,
    jobs: int | None = None,
) -> Generator[Workers, None, None]:
    """Run tasks on processes of their own, each with a source of its own; tasks and source are pickled.

    What they log is logged by this process.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    numbers: Any = context.RawArray("Q", ProgressCounters.size(tasks))
    flag: Any = context.RawArray("B", 1)
    level = logging.getLogger("mockexport").getEffectiveLevel()
    jobs = max(1, min(tasks, jobs or default_jobs()))
    theirs, ours = context.Pipe(duplex=False)  # they end when our end is closed, by us or by our death
    log_here, log_there = context.Pipe(duplex=False)
    given = (source, tasks, numbers, flag, level, log_there, theirs)
    with (
        logged_here(log_here, log_there),
        theirs,
        ours,
        ProcessPoolExecutor(jobs, context, _start_process, given) as executor,
    ):
        workers = LocalWorkers(ProgressCounters(tasks, numbers), executor, CancelToken(flag))
        try:
            yield workers
        except BaseException:
            workers.cancel()
            ours.close()
            raise


@dataclass(frozen=True, slots=True)
class _Process:
    """What a worker process was started with."""

    source: Source
    counters: ProgressCounters
    cancel: CancelToken


_process: _Process | None = None  # in a worker process: set before its first task


def _start_process(
    source: Source,
    tasks: int,
    numbers: MutableSequence[int],
    flag: MutableSequence[int],
    level: int,
    log: Connection[Any, Any],
    pipe: Connection[Any, Any],
) -> None:
    global _process  # noqa: PLW0603 - a pool's initializer has no other way to give a process something
    _process = _Process(source, ProgressCounters(tasks, numbers), CancelToken(flag))
    keep_freed_memory()
    logging.getLogger().addHandler(LogToPipe(log))
    logging.getLogger("mockexport").setLevel(level)
    for name in ("SIGINT", "SIGHUP"):  # they reach the caller, which cancels the token; Windows has no SIGHUP
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _run_in_process(work: Work[T, R], task: T) -> R:
    if _process is None:
        raise RuntimeError("this process was not started as a worker")
    return work(_process.source, task, TaskProgress(_process.counters, task.number, _process.cancel))


def _end_with(pipe: Connection[Any, Any]) -> None:
    """When the other end of a pipe is closed, wake what waits here, give it some time to end by itself; then end it."""
    with suppress(EOFError, OSError):
        pipe.recv_bytes()
    if _process:
        _process.cancel.cancel()
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def workers_for(jobs: int | None, *, releases_gil: bool, over_http: bool = False) -> StartWorkers:
    """Return threads where the work releases the GIL, else processes where there is more than one processor.

    What comes over HTTP is received by Python code, however it is counted: where there is much of it, processes pay.
    """
    wanted = jobs or default_jobs()
    if wanted == 1 or (releases_gil and not over_http):
        return partial(thread_workers, jobs=wanted)
    return partial(_workers_by_rows if releases_gil else process_workers, jobs=wanted)


def _workers_by_rows(source: Source, tasks: int, rows: int, *, jobs: int) -> AbstractContextManager[Workers]:
    return (process_workers if rows >= ROWS_FOR_PROCESSES else thread_workers)(source, tasks, rows, jobs=jobs)
