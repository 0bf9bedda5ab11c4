"""From the journal's thread to the event loop: many futures that are done at once wake it once.

asyncio.wrap_future wakes the loop for each, and each time both threads may wait for the interpreter: with many posts
that share a commit, that is most of what they take.
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
    """Lets tasks of one event loop wait for futures that other threads complete."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: list[asyncio.Future[None]] = []
        self._woken = False

    async def wait(self, future: Future[None], seconds: float) -> None:
        """Wait for a future, which goes on whatever happens here. Raises its error, or TimeoutError."""
        if future.done():
            future.result()
            return
        loop = asyncio.get_running_loop()
        ours: asyncio.Future[None] = loop.create_future()
        expiry = loop.call_later(seconds, _expire, ours)
        future.add_done_callback(lambda _: self._tell(loop, ours))
        try:
            await ours
        finally:
            expiry.cancel()
        future.result()

    def _tell(self, loop: asyncio.AbstractEventLoop, ours: asyncio.Future[None]) -> None:
        with self._lock:
            self._done.append(ours)
            if self._woken:
                return
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(self._pass_on)
                self._woken = True  # only now: where that failed, the next one that is done wakes it

    def _pass_on(self) -> None:
        with self._lock:
            done, self._done = self._done, []
            self._woken = False
        for ours in done:
            with contextlib.suppress(MemoryError):  # who can't be told waits in vain, and the others don't
                if not ours.done():
                    ours.set_result(None)


def _expire(ours: asyncio.Future[None]) -> None:
    if not ours.done():
        ours.set_exception(TimeoutError())
