"""What runs tasks side by side: threads and processes, each a `concurrent.futures.Executor`, and their Board.

Threads do where the work lets go of the GIL, as the native parts do; the pure ones need processes.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from array import array
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from mockexport.source import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, MutableSequence, Sequence
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager
    from multiprocessing.process import BaseProcess

__all__ = [
    "Board",
    "Cancelled",
    "StartWorkers",
    "default_jobs",
    "process_workers",
    "thread_workers",
    "workers_for",
]

WAITING, RUNNING, ENDED = range(3)
GRACE_SECONDS = 2.0  # for processes to end by themselves
ROWS_FOR_PROCESSES = 20_000_000  # 0.9 GB: there starting processes takes about as long as they save
FIELDS = 4  # a task's state, rows, bytes and tries


class Cancelled(Exception):  # noqa: N818 - no error: the caller has stopped, and nobody hears this
    """Raised in a task whose caller has stopped."""


class Board:
    """Numbers that tasks write and their caller reads: how far each task is; and one that the caller writes: stop.

    Each number has one writer, and is 64 bits wide, so nothing needs a lock.
    """

    def __init__(self, numbers: MutableSequence[int]) -> None:
        self._numbers = numbers

    @staticmethod
    def size(tasks: int) -> int:
        """How many numbers a board for so many tasks has."""
        return 1 + FIELDS * tasks

    def stop(self) -> None:
        """Tell all tasks to end."""
        self._numbers[0] = 1

    def advance(self, task: int, rows: int, size: int) -> None:
        """Say that a task has now seen `rows` rows, and `size` more bytes. Raises Cancelled after `stop`."""
        if self._numbers[0]:
            raise Cancelled
        at = 1 + FIELDS * task
        self._numbers[at] = RUNNING
        self._numbers[at + 1] = rows
        self._numbers[at + 2] += size

    def restart(self, task: int) -> None:
        """Say that a task begins, or begins anew: its rows and bytes so far count for nothing."""
        at = 1 + FIELDS * task
        self._numbers[at + 1] = self._numbers[at + 2] = 0

    def try_again(self, task: int) -> None:
        """Say that something of a task had to be tried again. Raises Cancelled after `stop`."""
        if self._numbers[0]:
            raise Cancelled
        self._numbers[1 + FIELDS * task + 3] += 1

    def end(self, task: int, rows: int) -> None:
        """Say that a task has ended well."""
        at = 1 + FIELDS * task
        self._numbers[at] = ENDED
        self._numbers[at + 1] = rows

    def numbers(self, task: int) -> list[int]:
        """All that is known of a task, to be put on another board."""
        return list(self._numbers[1 + FIELDS * task : 1 + FIELDS * (task + 1)])

    def put(self, task: int, numbers: Sequence[int]) -> None:
        """Take what another board knows of a task."""
        for at, number in enumerate(numbers, start=1 + FIELDS * task):
            self._numbers[at] = number

    def has_ended(self, task: int) -> bool:
        """Tell whether a task has ended well."""
        return self._numbers[1 + FIELDS * task] == ENDED

    def running(self) -> list[int]:
        """The tasks that have begun and not ended."""
        return [task for task, state in enumerate(self._numbers[1::FIELDS]) if state == RUNNING]

    def ended(self) -> int:
        """How many tasks have ended well."""
        return sum(state == ENDED for state in self._numbers[1::FIELDS])

    def rows(self, task: int | None = None) -> int:
        """Rows that one task, or all together, have seen."""
        return sum(self._numbers[2::FIELDS]) if task is None else self._numbers[2 + FIELDS * task]

    def bytes(self, task: int | None = None) -> int:
        """Bytes that one task, or all together, have seen."""
        return sum(self._numbers[3::FIELDS]) if task is None else self._numbers[3 + FIELDS * task]

    def tries(self, task: int | None = None) -> int:
        """How often something of one task, or of all together, had to be tried again."""
        return sum(self._numbers[4::FIELDS]) if task is None else self._numbers[4 + FIELDS * task]

    def __reduce__(self) -> tuple[Callable[[], Board], tuple[()]]:
        """Travel to a worker process as a reference to the board that the process shares with its caller."""
        return _board_of_this_process, ()


StartWorkers: TypeAlias = "Callable[[int, int], AbstractContextManager[tuple[Executor, Board]]]"
"""Starts workers for so many tasks over so many rows in all (0 when that isn't known), with a board for them."""


def default_jobs() -> int:
    """As many as there are processors for us."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


@contextmanager
def thread_workers(
    tasks: int, _rows: int = 0, *, jobs: int | None = None
) -> Generator[tuple[Executor, Board], None, None]:
    """Run tasks on threads of this process."""
    from concurrent.futures import ThreadPoolExecutor

    keep_freed_memory()
    board = Board(array("Q", bytes(8 * Board.size(tasks))))
    executor = ThreadPoolExecutor(max(1, min(tasks, jobs or default_jobs())))
    try:
        yield executor, board
    except BaseException:  # the threads end by themselves, at their next look at the board
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


@contextmanager
def process_workers(
    tasks: int, _rows: int = 0, *, jobs: int | None = None
) -> Generator[tuple[Executor, Board], None, None]:
    """Run tasks on processes of their own; what is submitted must be picklable."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")
    numbers: Any = context.RawArray("Q", Board.size(tasks))
    workers = max(1, min(tasks, jobs or default_jobs()))
    level = logging.getLogger("mockexport").getEffectiveLevel()
    with ProcessPoolExecutor(workers, context, _start_process, (numbers, level)) as executor:
        processes = getattr(executor, "_processes", {})  # public only from Python 3.14 on, by terminate_workers()
        try:
            yield executor, Board(numbers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            _end(list(processes.values()))
            raise


def _end(processes: list[BaseProcess]) -> None:
    """Give processes some time to end by themselves; end those that don't, and wait until they have."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.terminate()
    for process in processes:
        process.join(GRACE_SECONDS)


_process_boards: list[Board] = []  # in a worker process: the one board, set before its first task


def _start_process(numbers: MutableSequence[int], level: int) -> None:
    keep_freed_memory()
    _process_boards.append(Board(numbers))
    logging.basicConfig(format="mockexport: %(message)s")
    logging.getLogger("mockexport").setLevel(level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, which tells us through the board
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _board_of_this_process() -> Board:
    return _process_boards[0]


def workers_for(jobs: int | None, *, releases_gil: bool, over_http: bool = False) -> StartWorkers:
    """Threads where the work lets go of the GIL, processes where it doesn't and there is more than one processor.

    What comes over HTTP is taken in by Python code, however it is counted: where there is much of it, processes pay.
    """
    wanted = jobs or default_jobs()
    if wanted == 1 or (releases_gil and not over_http):
        return partial(thread_workers, jobs=wanted)
    return partial(_workers_by_rows if releases_gil else process_workers, jobs=wanted)


def _workers_by_rows(tasks: int, rows: int, *, jobs: int) -> AbstractContextManager[tuple[Executor, Board]]:
    return (process_workers if rows >= ROWS_FOR_PROCESSES else thread_workers)(tasks, rows, jobs=jobs)
