"""The server's log on stderr: problems, and optionally requests, with a rate limit for each kind of message."""

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

LINES = 10  # of a kind
SECONDS = 10.0
KINDS = 100  # remembered at most


@contextmanager
def log_to_stderr(*, access_log: bool) -> Generator[None, None, None]:
    """Log problems during the block, and with `access_log` every request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_relevant)
    handler.addFilter(RateLimit())
    loggers = {
        "asyncio": logging.ERROR,  # it warns of every client that disconnects in the middle of a body
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
    """A filter for log records: at most `lines` records of a kind pass within `seconds`.

    A kind is a message format, whatever its arguments. The last record that passes says that more are left out; the
    first one after them, how many. Lines of the access log are not limited: the user asked for them.
    """

    def __init__(self, lines: int = LINES, seconds: float = SECONDS) -> None:
        self._lines = lines
        self._seconds = seconds
        self._began = time.monotonic()
        self._counted: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes."""
        if record.name == "uvicorn.access":
            return True
        with self._lock:
            self._start_new_period()
            kind = record.name, str(record.msg).partition("\n")[0]
            self._counted[kind] += 1
            if self._counted[kind] > self._lines:
                self._left_out[kind] += 1
                return False
            if missed := self._left_out.pop(kind, 0):
                record.msg = f"{record.msg} ({missed:,} more were left out)"
            elif self._counted[kind] == self._lines:
                record.msg = f"{record.msg} (more are left out for up to {self._seconds:g} s)"
            return True

    def _start_new_period(self) -> None:
        if time.monotonic() - self._began > self._seconds:
            self._began = time.monotonic()
            self._counted.clear()
            if len(self._left_out) > KINDS:
                self._left_out.clear()


def _without_query(record: logging.LogRecord) -> bool:
    """Remove the query from a line of the access log: it may name a patient."""
    if isinstance(record.args, tuple):
        record.args = tuple(part.partition("?")[0] if isinstance(part, str) else part for part in record.args)
    return True


def _is_relevant(record: logging.LogRecord) -> bool:
    """Drop uvicorn's records of downloads that were aborted on purpose, which are logged with their reason."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "without completing response" not in record.getMessage()
