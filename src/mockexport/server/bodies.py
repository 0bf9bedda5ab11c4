"""What the bodies of one source share: worker threads, encodings, and the lengths that were found out."""

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
from mockexport.server.streaming import Part, Supply, part_of
from mockexport.source import keep_freed_memory
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.model import Download
    from mockexport.source import Chunks, Source

__all__ = ["ENCODINGS", "Bodies"]

WORKERS = 16  # enough for all cores while some wait for a slow source; more would only take turns with the event loop
LENGTHS = 4096

Key: TypeAlias = tuple[str, str, str]
"""Export, download and strong etag: what names the very bytes."""


class Compressor(Protocol):
    """What zlib and zstd have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes in; give some back when there are enough."""

    def flush(self) -> bytes:
        """Give back the rest."""


ENCODINGS: dict[str, Callable[[], Compressor]] = {  # the one to be preferred first; fast ones, for rows are made fast
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

    def supply(self, download: Download, part: Part, encoding: str | None = None) -> Supply:
        """Begin to make a part of a download, in an encoding if one is named."""
        chunks = part_of(self._source, download, part, partial(self._remember, download))
        return Supply(_encoded(chunks, ENCODINGS[encoding]()) if encoding else chunks, self._workers)

    def known_length(self, download: Download) -> int | None:
        """Return a download's length if its source declares it or it was found out before, for these very bytes."""
        if download.size is not None or not is_strong(download.etag):
            return download.size
        return self._lengths.get(_key(download))

    async def length(self, download: Download) -> int:
        """Return the length of a download with a strong etag, if need be by making all of it and sending nothing.

        Many who ask for the same one at the same time wait for one of them to find out.
        """
        lock = self._measuring.setdefault(_key(download), asyncio.Lock())
        async with lock:
            known = self.known_length(download)
            return await self._measure(download) if known is None else known

    async def _measure(self, download: Download) -> int:
        found: list[int] = []
        chunks = part_of(self._source, download, Part(), found.append)
        with closing(Supply(chunks, self._workers)) as supply:
            while await supply.hop():
                pass
        self._remember(download, found[0])
        return found[0]

    def _remember(self, download: Download, length: int) -> None:
        if not is_strong(download.etag):  # nothing tells these bytes from later ones of the same name
            return
        with self._lengths_lock:
            self._lengths[_key(download)] = length
            if len(self._lengths) > LENGTHS:
                del self._lengths[next(iter(self._lengths))]


def _key(download: Download) -> Key:
    return download.export, download.id, download.etag or ""


def _encoded(chunks: Chunks, compressor: Compressor) -> Chunks:
    with closing(chunks):
        for chunk in chunks:
            yield compressor.compress(chunk)
    yield compressor.flush()
