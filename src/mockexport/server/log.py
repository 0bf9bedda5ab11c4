"""What a server says on stderr: what goes wrong, in lines of its own, and of each kind only so many."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["RateLimit", "log_to_stderr"]

LINES = 10
SECONDS = 10.0
KINDS = 100


@contextmanager
def log_to_stderr(*, access_log: bool) -> Generator[None, None, None]:
    """Log what goes wrong, and with `access_log` each request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_worth_telling)
    handler.addFilter(RateLimit())
    loggers = {
        "asyncio": logging.ERROR,  # it warns of each client that hangs up in mid-body
        "mockexport": logging.WARNING,
        "uvicorn.error": logging.WARNING,
        "uvicorn.access": logging.INFO if access_log else logging.WARNING,
    }
    access = logging.getLogger("uvicorn.access")
    access.addFilter(_without_query)
    for name, level in loggers.items():
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        access.removeFilter(_without_query)
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


class RateLimit:
    """A filter for log records: of one kind (the same message, whatever stands in it) so many pass in so many seconds.

    The last one that passes says that others are left out, the first one after that how many these were. Lines of
    requests (`serve --verbose`) are not limited: they were asked for.
    """

    def __init__(self, lines: int = LINES, seconds: float = SECONDS) -> None:
        self._lines = lines
        self._seconds = seconds
        self._began = time.monotonic()
        self._counted: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def __call__(self, record: logging.LogRecord) -> bool:
        """Tell whether a record passes."""
        if record.name == "uvicorn.access":
            return True
        with self._lock:
            self._begin_anew()
            kind = record.name, str(record.msg).partition("\n")[0]
            self._counted[kind] += 1
            if self._counted[kind] > self._lines:
                self._left_out[kind] += 1
                return False
            if missed := self._left_out.pop(kind, 0):
                record.msg = f"{record.msg} ({missed:,} more of these were left out)"
            elif self._counted[kind] == self._lines:
                record.msg = f"{record.msg} (more of these are left out for up to {self._seconds:g} s)"
            return True

    def _begin_anew(self) -> None:
        if time.monotonic() - self._began > self._seconds:
            self._began = time.monotonic()
            self._counted.clear()
            if len(self._left_out) > KINDS:
                self._left_out.clear()


def _without_query(record: logging.LogRecord) -> bool:
    """Leave the query out of a request's line: it may say whose data was asked for."""
    if isinstance(record.args, tuple):
        record.args = tuple(part.partition("?")[0] if isinstance(part, str) else part for part in record.args)
    return True


def _worth_telling(record: logging.LogRecord) -> bool:
    """Drop what uvicorn says of a download that was broken off on purpose: who broke it off has told why."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "without completing response" not in record.getMessage()
