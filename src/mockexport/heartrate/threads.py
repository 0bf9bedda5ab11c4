"""Threads for what must not be done on the event loop; work that was given up counts until it ends."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NoThreadError", "Threads"]

T = TypeVar("T")


class NoThreadError(TimeoutError):
    """None of the threads became free in time; the work was not begun."""


class Threads:
    """At most `count` threads. Python can't stop a thread, so each keeps its place until its work has ended."""

    def __init__(self, count: int, name: str) -> None:
        self._free = asyncio.Semaphore(count)
        self._pool = ThreadPoolExecutor(count, name)

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Do it in a thread. Raises its error, NoThreadError, or TimeoutError for what isn't done in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise NoThreadError from None

        def free(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._free.release)

        try:
            future = self._pool.submit(work)
        except BaseException:  # no thread could be started
            self._free.release()
            raise
        future.add_done_callback(free)
        async with asyncio.timeout_at(deadline):
            return await asyncio.wrap_future(future)
