"""What worker processes log goes through a pipe, and is logged by their caller.

Two processes that write to one terminal would tear its lines. A queue of `multiprocessing` has a lock, which a process
that is killed may hold for ever; here, each message is one write to the pipe, which the system does not divide.
"""

from __future__ import annotations

import logging
import select
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection

__all__ = ["LogToPipe", "logged_here"]

LONGEST = select.PIPE_BUF - 4  # bytes of a message that is written at once, with its length before it


class LogToPipe(logging.Handler):
    """Sends what is logged through a pipe: level, logger and text; what is too long for one write is cut."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        message = f"{record.levelno} {record.name} {record.getMessage()}"
        with suppress(OSError):  # the caller has ended
            self._pipe.send_bytes(message.encode(errors="replace")[:LONGEST])


@contextmanager
def logged_here(here: Connection[Any, Any], there: Connection[Any, Any]) -> Generator[None, None, None]:
    """Log what processes send through a pipe. At the end of the block they must have ended, or be about to."""
    thread = threading.Thread(target=_log, args=(here,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        there.close()  # the last of its copies
        thread.join()
        here.close()


def _log(pipe: Connection[Any, Any]) -> None:
    while True:
        try:
            message = pipe.recv_bytes().decode(errors="replace")
        except (EOFError, OSError):
            return
        level, name, text = message.split(" ", 2)
        logging.getLogger(name).log(int(level), "%s", text)
