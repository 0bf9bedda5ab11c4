"""Server-sent events: what is to be told is looked at again and again, and sent when it has changed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["ENDED", "LOOK_SECONDS", "STREAM", "events"]

LOOK_SECONDS = 0.25
ALIVE_SECONDS = 15.0  # after which a comment is sent, so that neither side takes the other for gone
STREAM = "text/event-stream"
ENDED = object()
"""What a `look` returns when there is nothing more to tell."""


async def events(
    look: Callable[[], Awaitable[Any]], stopped: Callable[[], bool], seconds: float = LOOK_SECONDS
) -> AsyncIterator[bytes]:
    """Yield an event for each value of `look` that is neither None nor the one before, until it is `ENDED`.

    It looks every so many seconds. `stopped` ends the stream too, when the server stops.
    """
    sent, spoke = b"", time.monotonic()
    yield b": open\n\n"
    while not stopped() and (value := await look()) is not ENDED:
        data = b"" if value is None else orjson.dumps(value)
        if data and data != sent:
            sent, spoke = data, time.monotonic()
            yield b"data: " + data + b"\n\n"
        elif time.monotonic() - spoke > ALIVE_SECONDS:
            spoke = time.monotonic()
            yield b": alive\n\n"
        await asyncio.sleep(seconds)
