"""How far tasks are: counters that tasks write and their caller reads."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from mockexport.source import CancelToken

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

__all__ = ["Cancelled", "ProgressCounters", "TaskProgress"]

WAITING, RUNNING, FINISHED = range(3)
FIELDS = 4  # of a task: its state, rows, bytes and retries


class Cancelled(Exception):  # noqa: N818 - no error: the caller has stopped, and nobody waits for this
    """Raised in a task whose caller has stopped."""


class ProgressCounters:
    """How far each of `tasks` tasks is, and all together.

    The caller reads them while the tasks run. `memory` may be shared between processes: each number has one writer, and
    is 64 bits wide, so nothing needs a lock.
    """

    def __init__(self, tasks: int, memory: MutableSequence[int] | None = None) -> None:
        self._numbers = array("Q", bytes(8 * self.size(tasks))) if memory is None else memory

    @staticmethod
    def size(tasks: int) -> int:
        """Return how many numbers the memory for so many tasks has."""
        return FIELDS * tasks

    def running(self) -> list[int]:
        """Return the numbers of the tasks that have begun and not finished."""
        return [task for task, state in enumerate(self._numbers[0::FIELDS]) if state == RUNNING]

    def finished(self) -> int:
        """Return how many tasks have finished well."""
        return sum(state == FINISHED for state in self._numbers[0::FIELDS])

    def rows(self, task: int | None = None) -> int:
        """Return how many rows one task, or all together, have read."""
        return self._number(1, task)

    def bytes(self, task: int | None = None) -> int:
        """Return how many bytes one task, or all together, have read."""
        return self._number(2, task)

    def retries(self, task: int | None = None) -> int:
        """Return how often one task, or all together, had to try something again."""
        return self._number(3, task)

    def _number(self, field: int, task: int | None) -> int:
        return sum(self._numbers[field::FIELDS]) if task is None else self._numbers[FIELDS * task + field]

    def of_task(self, task: int) -> list[int]:
        """Return all numbers of one task, to be sent to other counters."""
        return list(self._numbers[FIELDS * task : FIELDS * (task + 1)])

    def set_task(self, task: int, numbers: Sequence[int]) -> None:
        """Set all numbers of one task, as other counters had them; those of a finished task stay."""
        if self._numbers[FIELDS * task] != FINISHED:
            for at, number in enumerate(numbers, start=FIELDS * task):
                self._numbers[at] = number

    def begin(self, task: int) -> None:
        """Set a task's rows and bytes to zero: it begins, or starts over."""
        self._numbers[FIELDS * task + 1] = self._numbers[FIELDS * task + 2] = 0

    def advance(self, task: int, rows: int, size: int) -> None:
        """Set a task's rows, and add `size` bytes."""
        at = FIELDS * task
        self._numbers[at] = RUNNING
        self._numbers[at + 1] = rows
        self._numbers[at + 2] += size

    def retry(self, task: int) -> None:
        """Add a retry to a task."""
        self._numbers[FIELDS * task + 3] += 1

    def finish(self, task: int, rows: int) -> None:
        """Set a task's state and rows: it has finished well."""
        at = FIELDS * task
        self._numbers[at] = FINISHED
        self._numbers[at + 1] = rows


class TaskProgress:
    """What one task tells of its progress, and what tells the task to end: `cancel`."""

    def __init__(self, counters: ProgressCounters, number: int, cancel: CancelToken | None = None) -> None:
        self.cancel = cancel or CancelToken()
        self._counters = counters
        self._number = number

    def restart(self) -> None:
        """Begin, or start over: rows and bytes so far count for nothing."""
        self._counters.begin(self._number)

    def advance(self, rows: int, size: int) -> None:
        """Tell that `rows` rows are read by now, and `size` more bytes. Raises Cancelled when it was cancelled."""
        if self.cancel.cancelled:
            raise Cancelled
        self._counters.advance(self._number, rows, size)

    def retry(self) -> None:
        """Tell that something had to be tried again. Raises Cancelled when it was cancelled."""
        if self.cancel.cancelled:
            raise Cancelled
        self._counters.retry(self._number)

    def finish(self, rows: int) -> None:
        """Tell that the task has finished well, after so many rows."""
        self._counters.finish(self._number, rows)
