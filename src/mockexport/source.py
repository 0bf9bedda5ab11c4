"""Sources: anything that has exports, and what its readers and it tell each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from mockexport.model import Download

__all__ = [
    "BulkExport",
    "CancelToken",
    "Chunks",
    "Combines",
    "CountsResources",
    "Declared",
    "Declares",
    "HasManifest",
    "MakesExports",
    "MayNeedServer",
    "OnRetry",
    "ReadsFolder",
    "Source",
    "home_of",
    "keep_freed_memory",
]

LARGE_BLOCK = 4 << 20  # bytes

Chunks: TypeAlias = Generator[bytes, None, None]
"""The bytes of a CSV, cut anywhere. Close it to release what is behind it.

`NotResumableError` says that the bytes so far are void, and that the same download may be opened again.
"""

OnRetry: TypeAlias = Callable[[float, bool], None]
"""Called before each wait for another try, with its seconds, and whether the server answered that it is busy.

What it raises ends the reading.
"""


class CancelToken:
    """Tells readers that nobody wants their bytes any more. Safe to share between threads.

    `flag` holds one number, and may be memory that processes share: they all see that the token was cancelled, but
    callbacks run only in the process that cancels it.
    """

    def __init__(self, flag: MutableSequence[int] | None = None) -> None:
        self._flag = [0] if flag is None else flag
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled; it stays so."""
        return bool(self._flag[0])

    def cancel(self) -> None:
        """Cancel, and call the callbacks that are registered."""
        with self._lock:
            self._flag[0] = 1
            callbacks = list(self._callbacks.values())
        for callback in callbacks:
            callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Generator[None, None, None]:
        """Have a callback called when the token is cancelled, while the block lasts; at once where it was already.

        It is called in the thread that cancels, and may be called twice.
        """
        registration = object()
        with self._lock:
            self._callbacks[registration] = callback
        try:
            if self.cancelled:
                callback()
            yield
        finally:
            with self._lock:
                del self._callbacks[registration]


class Source(Protocol):
    """Anything that has exports. Safe to share between threads, and small when pickled.

    All methods raise `NotFoundError` for unknown ids, `UnreachableError` and `NotAuthorisedError` where there is
    something to reach, and `UntrustedDataError` for answers that are not valid.
    """

    @property
    def name(self) -> str:
        """What the user called it: `mock`, a folder, a URL."""

    def exports(self) -> Sequence[str]:
        """Return the ids of the exports."""

    def downloads(self, export: str) -> Iterable[Download]:
        """Return the downloads of an export, in order, to be gone through once.

        They may be asked for as they are taken: there may be millions. Errors may come then, too. Where their number
        is known before, `operator.length_hint` tells it.
        """

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream the bytes of a download's CSV, from byte `offset` on.

        `on_retry` is called before each wait for another try. `cancel` ends the reading at once when
        it is cancelled, with whatever error comes of that; a source whose reads never wait for long may ignore it.
        """

    def close(self) -> None:
        """Release connections; the source may be used again afterwards."""


@runtime_checkable
class ReadsFolder(Protocol):
    """A source that reads each export from a folder, which nothing may be fetched into."""

    def folder_of(self, export: str) -> Path:
        """Return the folder with the files of an export. Raises NotFoundError."""


@runtime_checkable
class Combines(Protocol):
    """A source whose exports are those of other sources."""

    def home(self, export: str) -> Source:
        """Return the source that has an export."""


def home_of(source: Source, export: str) -> Source:
    """Return the source that has an export: one of those that are combined, or the source itself."""
    while isinstance(source, Combines):
        source = source.home(export)
    return source


@runtime_checkable
class MayNeedServer(Protocol):
    """A source whose name alone may not be enough to open it elsewhere, only the server that has it open."""

    @property
    def needs_server(self) -> bool:
        """Whether `--source` does not take its name."""


@runtime_checkable
class MakesExports(Protocol):
    """A source that has to make an export before its downloads are known, which may take long.

    `downloads` begins it, or goes on with one that was begun. `on_status`, if set, is told what is waited for.
    """

    on_status: Callable[[str], None] | None

    @property
    def keeps_state(self) -> bool:
        """Whether another run can go on with what this one has begun."""

    def made(self, export: str) -> Iterable[Download] | None:
        """Return the downloads of an export that was begun before; None where `downloads` would begin it."""

    def start(self, export: str) -> str:
        """Begin an export, without waiting for it; return the URL by which it can be asked for."""

    def cancel(self, export: str) -> None:
        """Have an export deleted that was begun before. Raises NotFoundError if there is none."""

    def is_current(self, download: Download) -> bool:
        """Tell whether a download of an earlier run is of the export that `downloads` goes on with, if there is one.

        Raises what `finish` raises.
        """

    def finish(self, export: str) -> None:
        """Have an export deleted that was begun before, if it may be there: its files are not needed any more.

        Raises UsageError if another one was begun, and UnreachableError where one may be that cannot be found.
        """

    def end(self) -> None:
        """Have the exports that were begun deleted; nothing can be read from them any more."""


class BulkExport(NamedTuple):
    """What a FHIR server has told of an export, to be kept beside its files for others' tools.

    `kick_off` is the URL that began it, `status_url` that of its status, `began` when that was, in seconds since 1970,
    if that is known, and `manifest` the server's own, as it was sent. `urls` has the URL of each file by its id: of the
    downloads, and of the `others`, which are not counted: `error/1.OperationOutcome`, `deleted/1.Bundle`.
    """

    kick_off: str
    status_url: str
    began: float | None
    manifest: bytes
    urls: Mapping[str, str]
    others: Sequence[Download] = ()


@runtime_checkable
class HasManifest(Protocol):
    """A source whose exports have a manifest of their own, which is kept beside their files."""

    def bulk_export(self, export: str) -> BulkExport:
        """Return what the server has told of an export whose downloads were listed; its links may be renewed later."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What an export was declared to be, where its files may be other ones: that is told here, and is no error.

    `downloads` are those that are there, and are opened from `source`, and so are `deleted`, the files of resources
    that were deleted. `missing` names files that were declared and are not there, `undeclared` those that are there and
    were not. `sizes` and `sha256` are those declared, of the text, by the ids of downloads. `issues` counts what the
    server told of errors, by severity and code. `types` are the resource types that were asked for, all if it is empty;
    None if that is not known. What has changed `since` then was asked for, and is as it was at `transaction_time`.
    """

    source: Source
    downloads: Sequence[Download]
    missing: Sequence[str] = ()
    undeclared: Sequence[str] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    deleted: Sequence[Download] = ()
    issues: Mapping[tuple[str, str], int] = field(default_factory=dict)
    types: Sequence[str] | None = None
    since: datetime | None = None
    transaction_time: datetime | None = None


@runtime_checkable
class Declares(Protocol):
    """A source that tells what an export was declared to be, also where its files are other ones."""

    def declared(self, export: str) -> Declared:
        """Return what was declared. Raises what `downloads` raises for an export that cannot be listed at all."""


@runtime_checkable
class CountsResources(Protocol):
    """A source whose server can be asked how many resources of a type it has."""

    def resources(self, export: str, resource_type: str) -> int:
        """Ask for the number of resources that an export should have of a type. Raises UsageError if it has no answer.

        An export of some patients has none, and neither has one by filters.
        """


@cache
def keep_freed_memory() -> None:
    """Let the memory of a freed chunk serve for the next one; call this before many are read.

    glibc gives memory back to the system, and requests it again, at each rise and fall of the heap by twice the largest
    block that was ever freed, at first 256 KiB: half the time of reading, until a larger block was freed.
    """
    bytes(LARGE_BLOCK)
