"""Background threads that survive every error, and report it.

A Polars panic is a BaseException, and memory may run out anywhere. A thread that such an error ended would go
unnoticed. So these threads catch everything and try again, and `problem` reports one that ended all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from mockexport.errors import MockExportError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BackgroundThread"]

PAUSE_AFTER_FAILURE = 1.0  # seconds

log = logging.getLogger(__name__)


class BackgroundThread:
    """A thread that calls `step` with itself every `seconds`, until `stop` is set."""

    def __init__(
        self, name: str, seconds: float, step: Callable[[BackgroundThread], None], stop: threading.Event
    ) -> None:
        self._seconds, self._step, self._stop = seconds, step, stop
        self._failing: dict[str, str] = {}
        self._since: dict[str, float] = {}  # when what is failing began to
        self._unexpected: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name=f"heart-rate {name}", daemon=True)
        self._thread.start()

    def attempt(self, what: str, work: Callable[[], object]) -> None:
        """Do some work. If it fails, log each new error once, and pause before the next attempt.

        An expected failure (a MockExportError, such as a table that can't be reached) is not a `problem`.
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
            self._since.setdefault(what, time.monotonic())
            if not expected:
                self._unexpected[what] = message.splitlines()[0]
            self._stop.wait(PAUSE_AFTER_FAILURE)
        else:
            self._failing.pop(what, None)
            self._since.pop(what, None)
            self._unexpected.pop(what, None)

    @property
    def last_error(self) -> str | None:
        """The error of work that is failing now, expected or not."""
        return next(iter(list(self._failing.values())), None)

    def failing(self, what: str) -> str | None:
        """Return the error of some work if it is failing now, expected or not."""
        return self._failing.get(what)

    def failing_seconds(self, what: str) -> float:
        """Return for how long some work has been failing; 0 if it is not."""
        since = self._since.get(what)
        return 0.0 if since is None else time.monotonic() - since

    def problem(self) -> str | None:
        """Return an unexpected error of this thread, or that it has ended; None if it is well."""
        if not self._thread.is_alive() and not self._stop.is_set():
            return f"the thread {self._thread.name!r} has ended; restart the server"
        return next(iter(list(self._unexpected.values())), None)

    def join(self, seconds: float) -> None:
        """Wait up to `seconds` for the thread to end, once `stop` is set."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._step(self)
