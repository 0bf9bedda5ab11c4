"""Streaming the bytes of a download: worker threads read the source, the event loop sends what they read.

Chunks pass between the two in batches: half a megabyte, or what arrives within 50 ms. With smaller batches the handover
costs more than the work; larger ones are no faster.
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

__all__ = ["ByteRange", "ReadAhead", "stream_range"]

BATCH_BYTES = 1 << 19
BATCH_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` up to, but not including, `stop`, of a download of `length` bytes.

    `stop` and `length` are None if they are not known yet.
    """

    start: int = 0
    stop: int | None = None
    length: int | None = None


def stream_range(source: Source, download: Download, byte_range: ByteRange, on_length: Callable[[int], None]) -> Chunks:
    """Stream a range of a download; check its length against the declared one.

    Each chunk is held back until the next one has arrived. So the last chunk is sent only after the source has ended
    without an error and with the declared number of bytes: no client receives the whole of a body that failed.
    `on_length` is called with the length of the download once its end was reached. Raises UntrustedDataError if the
    length differs from the declared one, and whatever the source raises.
    """
    start, stop, length = byte_range.start, byte_range.stop, byte_range.length
    at = start
    held = b""
    with closing(source.open(download, at)) as chunks:
        for chunk in chunks:
            if held:
                yield held
            held = chunk
            at += len(chunk)
            if stop != length and stop is not None and at >= stop:
                yield chunk[: len(chunk) - (at - stop)]
                return
            if length is not None and at > length:
                raise UntrustedDataError(f"download {download.id!r} is longer than its {length} bytes")
    if length is not None and at < length:
        raise UntrustedDataError(f"download {download.id!r} ended after {at} of its {length} bytes")
    on_length(at)
    if held:
        yield held


class ReadAhead:
    """Reads chunks in worker threads, one batch ahead of the task that sends them. Use it from one task; close it."""

    def __init__(self, chunks: Chunks, workers: Executor) -> None:
        self._chunks = chunks
        self._workers = workers
        self._closed = False
        self._start()

    async def next_chunks(self) -> list[bytes]:
        """Return the next batch of chunks, empty at the end. Raises what reading them raised."""
        chunks = await self._next
        if chunks:
            self._start()
        return chunks

    def close(self) -> None:
        """Close the chunks in a worker thread: after the current read, if one is under way."""
        self._closed = True
        if not self._next.cancel() and not self._next.cancelled():
            self._next.exception()  # retrieved, or asyncio would log that it never was
        if self._reading.cancel() or self._reading.done():
            self._workers.submit(self._chunks.close)
        else:
            self._reading.add_done_callback(lambda _: self._chunks.close())

    def _start(self) -> None:
        self._reading = self._workers.submit(self._read)
        self._next = asyncio.wrap_future(self._reading)

    def _read(self) -> list[bytes]:
        chunks: list[bytes] = []
        size = 0
        deadline = time.monotonic() + BATCH_SECONDS
        for chunk in self._chunks:
            if chunk:  # a compressor returns nothing until it has taken in enough
                chunks.append(chunk)
                size += len(chunk)
            if size >= BATCH_BYTES or (chunks and time.monotonic() > deadline) or self._closed:
                break
        return chunks
