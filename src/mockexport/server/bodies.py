"""What all bodies of one source share: worker threads, content encodings, and the lengths measured so far."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakValueDictionary

from mockexport.identity import is_strong
from mockexport.server.streaming import ByteRange, ReadAhead, stream_range
from mockexport.source import keep_freed_memory
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.model import Download
    from mockexport.source import Chunks, Source

__all__ = ["ENCODINGS", "Bodies"]

WORKERS = 16  # enough for all cores while some wait for a slow source; more only compete with the event loop
LENGTHS_CACHED = 4096

Key: TypeAlias = tuple[str, str, str]
"""Export, download and strong ETag: together they identify the bytes."""


class Compressor(Protocol):
    """What zlib and zstd have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress bytes; return output once there is enough, or nothing."""

    def flush(self) -> bytes:
        """Return the rest of the output."""


ENCODINGS: dict[str, Callable[[], Compressor]] = {  # in order of preference; at fast levels, since sources are fast
    "zstd": partial(zstd_module().ZstdCompressor, level=1),
    "gzip": partial(zlib.compressobj, level=1, wbits=zlib.MAX_WBITS + 16),
}


class Bodies:
    """The bodies of a source's downloads."""

    def __init__(self, source: Source) -> None:
        keep_freed_memory()
        self._source = source
        self._workers = ThreadPoolExecutor(WORKERS, "mockexport-body")
        self._lengths: dict[Key, int] = {}
        self._lengths_lock = Lock()
        self._measuring: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    def open(self, download: Download, byte_range: ByteRange, encoding: str | None = None) -> ReadAhead:
        """Start to read a range of a download, compressed if an encoding is named."""
        chunks = stream_range(self._source, download, byte_range, partial(self._remember, download))
        return ReadAhead(_encoded(chunks, ENCODINGS[encoding]()) if encoding else chunks, self._workers)

    def known_length(self, download: Download) -> int | None:
        """Return a download's length, in bytes, if its source declares it or these same bytes were measured before."""
        if download.size is not None or not is_strong(download.etag):
            return download.size
        return self._lengths.get(_key(download))

    async def length(self, download: Download) -> int:
        """Return the length of a download with a strong ETag, in bytes; read all of it if need be.

        Concurrent requests for the same download wait for one measurement.
        """
        lock = self._measuring.setdefault(_key(download), asyncio.Lock())
        async with lock:
            known = self.known_length(download)
            return await self._measure(download) if known is None else known

    async def _measure(self, download: Download) -> int:
        found: list[int] = []
        chunks = stream_range(self._source, download, ByteRange(), found.append)
        with closing(ReadAhead(chunks, self._workers)) as reader:
            while await reader.next_chunks():
                pass
        self._remember(download, found[0])
        return found[0]

    def _remember(self, download: Download, length: int) -> None:
        if not is_strong(download.etag):  # nothing tells these bytes from a later version of them
            return
        with self._lengths_lock:
            self._lengths[_key(download)] = length
            if len(self._lengths) > LENGTHS_CACHED:
                del self._lengths[next(iter(self._lengths))]


def _key(download: Download) -> Key:
    return download.export, download.id, download.etag or ""


def _encoded(chunks: Chunks, compressor: Compressor) -> Chunks:
    with closing(chunks):
        for chunk in chunks:
            yield compressor.compress(chunk)
    yield compressor.flush()
