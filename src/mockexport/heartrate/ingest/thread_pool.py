"""A thread pool for work that would block the event loop; work that timed out counts until it has really ended."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NoFreeThreadError", "ThreadPool"]

T = TypeVar("T")


class NoFreeThreadError(TimeoutError):
    """No thread became free in time; the work was not started."""


class ThreadPool:
    """At most `count` threads. Python can't stop a thread, so each one is busy until its work has ended."""

    def __init__(self, count: int, name: str) -> None:
        self._free = asyncio.Semaphore(count)
        self._pool = ThreadPoolExecutor(count, name)

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Do some work in a thread, within `seconds`. Raises its error, NoFreeThreadError or TimeoutError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise NoFreeThreadError from None

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
