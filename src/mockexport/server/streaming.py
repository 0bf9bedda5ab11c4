"""The bytes of a download on their way from its source: made in worker threads, a hop at a time.

A hop is what one call of a worker thread brings: half a megabyte, or what comes within a moment. Smaller ones cost more
than they carry, larger ones are no faster.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.errors import UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from mockexport.model import Download
    from mockexport.source import Chunks, Source

__all__ = ["Part", "Supply", "part_of"]

HOP_BYTES = 1 << 19
HOP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a download's bytes; `stop` and `length`, that of the whole, are None where it isn't known yet."""

    start: int = 0
    stop: int | None = None
    length: int | None = None


def part_of(source: Source, download: Download, part: Part, found_length: Callable[[int], None]) -> Chunks:
    """Stream a part of a download, and check that the source keeps its word.

    A chunk is held back until the next one is there: so the last one isn't given before the source has come to its
    end without an error, and with as many bytes as it should. Nobody gets all of a body that ends badly.
    """
    at = part.start
    held = b""
    with closing(source.open(download, at)) as chunks:
        for chunk in chunks:
            if held:
                yield held
            held = chunk
            at += len(chunk)
            if part.stop != part.length and part.stop is not None and at >= part.stop:
                yield chunk[: len(chunk) - (at - part.stop)]
                return
            if part.length is not None and at > part.length:
                raise UntrustedDataError(f"download {download.id!r} is longer than its {part.length} bytes")
    if part.length is not None and at < part.length:
        raise UntrustedDataError(f"download {download.id!r} ended after {at} of its {part.length} bytes")
    found_length(at)
    if held:
        yield held


class Supply:
    """Takes chunks in worker threads, one hop ahead of whoever waits for them. To be used from one task, and closed."""

    def __init__(self, chunks: Chunks, workers: Executor) -> None:
        self._chunks = chunks
        self._workers = workers
        self._closed = False
        self._start()

    async def hop(self) -> list[bytes]:
        """Return the next chunks; none at the end."""
        hop = await self._next
        if hop:
            self._start()
        return hop

    def close(self) -> None:
        """Have the chunks closed in a worker thread: the one that is at work on them, when it is done, or any other."""
        self._closed = True
        if not self._next.cancel() and not self._next.cancelled():
            self._next.exception()  # looked at, or asyncio would complain that nobody did
        if self._taking.cancel() or self._taking.done():
            self._workers.submit(self._chunks.close)
        else:
            self._taking.add_done_callback(lambda _: self._chunks.close())

    def _start(self) -> None:
        self._taking = self._workers.submit(self._take)
        self._next = asyncio.wrap_future(self._taking)

    def _take(self) -> list[bytes]:
        hop: list[bytes] = []
        size = 0
        deadline = time.monotonic() + HOP_SECONDS
        for chunk in self._chunks:
            if chunk:  # an encoder takes in a lot before it gives something out
                hop.append(chunk)
                size += len(chunk)
            if size >= HOP_BYTES or (hop and time.monotonic() > deadline) or self._closed:
                break
        return hop
