"""How far tasks are: counters that tasks write and their caller reads."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from mockexport.source import CancelToken

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

__all__ = ["BUSY", "LOST", "RUNNING", "Cancelled", "ProgressCounters", "TaskProgress", "TaskStatus"]

WAITING, RUNNING, FINISHED, BUSY, LOST = range(5)
"""The states of a task. In the last two it waits for its next try: the server is busy, or the connection was lost."""
STATE, ROWS, BYTES, RETRIES, KEPT_ROWS, KEPT_BYTES, RESUMED, WAIT = range(8)
FIELDS = 8  # of a task; of the rows and bytes, some were kept from an earlier run
LONGEST_WAIT = 1e9  # seconds, which fit in the memory


class Cancelled(Exception):  # noqa: N818 - no error: the caller has stopped, and nobody waits for this
    """Raised in a task whose caller has stopped."""


class TaskStatus(NamedTuple):
    """What a task does: its state, its last wait in seconds, and the byte at which it was last resumed, or 0."""

    state: int
    wait: float
    resumed: int


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
        states = self._numbers[STATE::FIELDS]
        return [task for task, state in enumerate(states) if state not in (WAITING, FINISHED)]

    def unfinished(self) -> list[int]:
        """Return the numbers of the tasks that have not finished."""
        return [task for task, state in enumerate(self._numbers[STATE::FIELDS]) if state != FINISHED]

    def finished(self) -> int:
        """Return how many tasks have finished well."""
        return sum(state == FINISHED for state in self._numbers[STATE::FIELDS])

    def rows(self, task: int | None = None) -> int:
        """Return how many rows one task, or all together, have read."""
        return self._number(ROWS, task)

    def bytes(self, task: int | None = None) -> int:
        """Return how many bytes one task, or all together, have read."""
        return self._number(BYTES, task)

    def retries(self, task: int | None = None) -> int:
        """Return how often one task, or all together, had to try something again."""
        return self._number(RETRIES, task)

    def kept_rows(self, task: int | None = None) -> int:
        """Return how many of the rows an earlier run had read."""
        return self._number(KEPT_ROWS, task)

    def kept_bytes(self, task: int | None = None) -> int:
        """Return how many of the bytes an earlier run had read."""
        return self._number(KEPT_BYTES, task)

    def status(self, task: int) -> TaskStatus:
        """Return what a task does."""
        at = FIELDS * task
        return TaskStatus(self._numbers[at + STATE], self._numbers[at + WAIT] / 1000, self._numbers[at + RESUMED])

    def _number(self, field: int, task: int | None) -> int:
        return sum(self._numbers[field::FIELDS]) if task is None else self._numbers[FIELDS * task + field]

    def of_task(self, task: int) -> list[int]:
        """Return all numbers of one task, to be sent to other counters."""
        return list(self._numbers[FIELDS * task : FIELDS * (task + 1)])

    def set_task(self, task: int, numbers: Sequence[int]) -> None:
        """Set all numbers of one task, as other counters had them; those of a finished task stay."""
        if self._numbers[FIELDS * task + STATE] != FINISHED:
            for at, number in enumerate(numbers, start=FIELDS * task):
                self._numbers[at] = number

    def begin(self, task: int) -> None:
        """Set a task's rows and bytes to zero: it begins, or starts over."""
        at = FIELDS * task
        for field in (ROWS, BYTES, KEPT_ROWS, KEPT_BYTES, RESUMED):
            self._numbers[at + field] = 0
        self._numbers[at + STATE] = RUNNING

    def keep(self, task: int, rows: int, size: int) -> None:
        """Set a task's rows and bytes to those that an earlier run had read: it goes on behind them."""
        at = FIELDS * task
        self._numbers[at + ROWS] = self._numbers[at + KEPT_ROWS] = rows
        self._numbers[at + BYTES] = self._numbers[at + KEPT_BYTES] = self._numbers[at + RESUMED] = size

    def advance(self, task: int, rows: int, size: int) -> None:
        """Set a task's rows, and add `size` bytes."""
        at = FIELDS * task
        if self._numbers[at + STATE] != RUNNING:
            self._numbers[at + RESUMED] = self._numbers[at + BYTES]
            self._numbers[at + STATE] = RUNNING
        self._numbers[at + ROWS] = rows
        self._numbers[at + BYTES] += size

    def retry(self, task: int, wait: float, state: int) -> None:
        """Add a retry to a task, which comes after a wait in seconds."""
        at = FIELDS * task
        self._numbers[at + RETRIES] += 1
        self._numbers[at + WAIT] = round(min(wait, LONGEST_WAIT) * 1000)
        self._numbers[at + STATE] = state

    def finish(self, task: int, rows: int) -> None:
        """Set a task's state and rows: it has finished well."""
        at = FIELDS * task
        self._numbers[at + STATE] = FINISHED
        self._numbers[at + ROWS] = rows


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

    def keep(self, rows: int, size: int) -> None:
        """Tell that an earlier run had read so many rows and bytes, which are not read again."""
        self._counters.keep(self._number, rows, size)

    def retry(self) -> None:
        """Tell that something is tried again at once. Raises Cancelled when it was cancelled."""
        self._retry(0.0, RUNNING)

    def retry_after(self, wait: float, busy: bool) -> None:
        """Tell that a request is tried again after a wait, in seconds; the contract is `source.OnRetry`."""
        self._retry(wait, BUSY if busy else LOST)

    def _retry(self, wait: float, state: int) -> None:
        if self.cancel.cancelled:
            raise Cancelled
        self._counters.retry(self._number, wait, state)

    def finish(self, rows: int) -> None:
        """Tell that the task has finished well, after so many rows."""
        self._counters.finish(self._number, rows)
