"""Threads that go on whatever goes wrong, and tell of it.

A Polars panic is a BaseException, and memory may run out anywhere: a thread that such an error ended would be missed
only much later. So a worker catches everything and tries again; and should it end all the same, that is seen too.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from mockexport.errors import MockExportError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Worker"]

FAILED_PAUSE = 1.0  # seconds

log = logging.getLogger(__name__)


class Worker:
    """A thread that takes a turn every `seconds` until `stop` is set."""

    def __init__(self, name: str, seconds: float, turn: Callable[[Worker], None], stop: threading.Event) -> None:
        self._seconds, self._turn, self._stop = seconds, turn, stop
        self._failing: dict[str, str] = {}
        self._unexpected: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name=f"heart-rate {name}", daemon=True)
        self._thread.start()

    def attempt(self, what: str, work: Callable[[], object]) -> None:
        """Do it; when it fails say so once, and leave the next try some time.

        A failure that is expected, such as a table that can't be reached, is no `problem`.
        """
        try:
            work()
        except BaseException as error:
            if self._stop.is_set():
                return
            expected = isinstance(error, MockExportError)
            message = f"cannot {what}: {str(error) or type(error).__name__}"
            if self._failing.get(what) != message:
                log.log(logging.ERROR, "%s", message, exc_info=None if expected else error)
            self._failing[what] = message
            if not expected:
                self._unexpected[what] = message.splitlines()[0]
            self._stop.wait(FAILED_PAUSE)
        else:
            self._failing.pop(what, None)
            self._unexpected.pop(what, None)

    @property
    def last_error(self) -> str | None:
        """What fails now, expected or not."""
        return next(iter(list(self._failing.values())), None)

    def problem(self) -> str | None:
        """Tell what is wrong with this thread that nobody expected; None when nothing is."""
        if not self._thread.is_alive() and not self._stop.is_set():
            return f"the thread {self._thread.name!r} has ended; start the server again"
        return next(iter(list(self._unexpected.values())), None)

    def join(self, seconds: float) -> None:
        """Wait until it has ended, once `stop` is set."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._turn(self)
