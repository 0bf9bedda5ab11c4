"""From the journal's thread to the event loop: many futures that are done together wake it once.

asyncio.wrap_future wakes the loop for each of them, and each time both threads may wait for the GIL. For many posts
that share a commit, that is most of their cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["LoopBridge"]


class LoopBridge:
    """Lets tasks of one event loop await futures that other threads complete."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: list[asyncio.Future[None]] = []
        self._woken = False

    async def wait(self, future: Future[None], seconds: float) -> None:
        """Wait up to `seconds` for a future, which is never cancelled. Raises its error, or TimeoutError."""
        if future.done():
            future.result()
            return
        loop = asyncio.get_running_loop()
        ours: asyncio.Future[None] = loop.create_future()
        expiry = loop.call_later(seconds, _expire, ours)
        future.add_done_callback(lambda _: self._notify(loop, ours))
        try:
            await ours
        finally:
            expiry.cancel()
        future.result()

    def _notify(self, loop: asyncio.AbstractEventLoop, ours: asyncio.Future[None]) -> None:
        with self._lock:
            self._done.append(ours)
            if self._woken:
                return
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._complete_all)
                self._woken = True  # only now: if the call failed, the next future wakes the loop

    def _complete_all(self) -> None:
        with self._lock:
            done, self._done = self._done, []
            self._woken = False
        for ours in done:
            with contextlib.suppress(MemoryError):  # this one then times out; the others must not
                if not ours.done():
                    ours.set_result(None)


def _expire(ours: asyncio.Future[None]) -> None:
    if not ours.done():
        ours.set_exception(TimeoutError())
