"""The one idea that carries the whole: a Source is anything that has exports."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.model import Download

__all__ = ["Chunks", "ReadsFolder", "Source", "keep_freed_memory"]

LARGE_BLOCK = 4 << 20  # bytes

Chunks: TypeAlias = Generator[bytes, None, None]
"""The bytes of a CSV, cut anywhere. Close it to let go of what is behind it.

An empty chunk says that the way to the bytes was lost, and is being made again. `NotResumableError` says that what came
so far is void, and that the same download may be opened anew.
"""


class Source(Protocol):
    """Anything that has exports. Safe to share between threads, and small when pickled.

    All methods raise `NotFoundError` for unknown ids, `UnreachableError` and `NotAuthorisedError` where there is
    something to reach, and `UntrustedDataError` for answers that make no sense.
    """

    @property
    def name(self) -> str:
        """What the user called it: `mock`, a folder, a URL."""

    def exports(self) -> Sequence[str]:
        """Return the ids of the exports."""

    def downloads(self, export: str) -> Iterable[Download]:
        """Return the downloads of an export, in order, to be gone through once.

        They may be asked for as they are taken: there may be millions. Errors may come then, too.
        """

    def open(self, download: Download, offset: int = 0) -> Chunks:
        """Stream the bytes of a download's CSV, from byte `offset` on."""

    def close(self) -> None:
        """Let go of connections; the source may be used again afterwards."""


@runtime_checkable
class ReadsFolder(Protocol):
    """A source that reads each export from a folder of that name, which nothing may be fetched into."""

    @property
    def root(self) -> Path:
        """The folder above those of the exports."""


@cache
def keep_freed_memory() -> None:
    """Have the memory of a chunk that is done with serve for the next one; to be called before many are read.

    glibc gives memory back to the system, and asks for it anew, at each rise and fall of the heap by twice the largest
    block that was ever freed, at first 256 KiB: half the time of reading, until a larger block was freed.
    """
    bytes(LARGE_BLOCK)
