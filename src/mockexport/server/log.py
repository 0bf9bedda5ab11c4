"""The server's log on stderr: problems, and optionally requests, with a rate limit for each kind of message.

Each line is text, or one JSON object. No line names a user, a device or a token.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

from mockexport.encoding import unicode_only

if TYPE_CHECKING:
    from collections.abc import Generator

    from pythonjsonlogger.core import LogData
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RateLimit", "RequestLog", "json_handler", "log_to_stderr"]

LINES = 10  # of a kind
SECONDS = 10.0
KINDS = 100  # remembered at most


requests = logging.getLogger("mockexport.requests")


@contextmanager
def log_to_stderr(*, access_log: bool, as_json: bool = False) -> Generator[None, None, None]:
    """Log problems during the block, and with `access_log` every request; as JSON, those that a RequestLog sees."""
    handler = json_handler() if as_json else logging.StreamHandler()
    if not as_json:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_relevant)
    handler.addFilter(RateLimit())
    loggers = {
        "asyncio": logging.ERROR,  # it warns of every client that disconnects in the middle of a body
        "mockexport": logging.WARNING,
        "uvicorn.error": logging.WARNING,
        "uvicorn.access": logging.INFO if access_log and not as_json else logging.WARNING,
    }
    requests.setLevel(logging.INFO if access_log and as_json else logging.WARNING)
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


def json_handler() -> logging.Handler:
    """Return a handler that writes each record to stderr as a JSON object, with its time in UTC (RFC 3339)."""
    formatter = _JsonLines(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # of uvicorn, the message once more
    )
    formatter.converter = time.gmtime
    formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = "%s.%03dZ"
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    return handler


class _JsonLines(OrjsonFormatter):
    def process_log_record(self, log_data: LogData) -> LogData:
        """Make all text valid Unicode: nothing else can be written as JSON."""
        return {name: unicode_only(value) if isinstance(value, str) else value for name, value in log_data.items()}


class RequestLog:
    """An application that logs each request once it has been answered, with what it was as fields of the record."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log it: without its query, which may name a patient."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"]
        status = None

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            fields = {
                "method": scope["method"],
                "path": path,
                "status": status,  # None if it was never answered
                "seconds": round(time.perf_counter() - began, 6),
                "client": scope["client"][0] if scope["client"] else None,
            }
            requests.info("%s %s", fields["method"], fields["path"], extra=fields)


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
        if record.name in ("uvicorn.access", requests.name):
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
