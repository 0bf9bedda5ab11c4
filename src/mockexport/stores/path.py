"""A prefix or an object in a store as a place, and an object as an open file."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from mockexport.errors import ChangedError, NotAuthorisedError, UsageError
from mockexport.stores.settings import StoreSettings, check_store_url
from mockexport.stores.store import Bucket, Listing, ObjectVersion
from mockexport.stores.writing import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from types import TracebackType

    from mockexport.source import CancelToken, OnRetry

__all__ = ["ObjectFile", "StorePath", "Tree"]

FIRST_BYTES = 1 << 19  # of a reading: often only a header is wanted
PIECE_BYTES = 8 << 20  # at a time, then; each piece is twice as large as the one before, up to this


class Tree:
    """What is below one prefix, as it was listed: each folder is listed once, until `forget`."""

    def __init__(self, url: str, settings: StoreSettings) -> None:
        self.url, self.settings = url, settings
        self.scheme, self.bucket_name, self.prefix = check_store_url(url)
        self.bucket = Bucket(self.scheme, self.bucket_name, settings)
        self._lock = threading.Lock()
        self._listings: dict[str, Listing] = {}

    def listing(self, key: str) -> Listing:
        """Return what is directly below a prefix."""
        with self._lock:  # so that many readers, at their start, ask once
            if key not in self._listings:
                self._listings[key] = self.bucket.list(key)
            return self._listings[key]

    def forget(self) -> None:
        """Have what is asked for next listed anew."""
        with self._lock:
            self._listings = {}


@dataclass(frozen=True, order=True, slots=True)
class StorePath:
    """An object or a prefix at or below the prefix of a tree, as a `Place`."""

    key: str
    tree: Tree = field(compare=False, repr=False)

    @classmethod
    def of(cls, url: str, settings: StoreSettings | None = None) -> Self:
        """Return the place of a URL, and the tree below it. Raises UsageError if that is not valid."""
        tree = Tree(url, settings or StoreSettings())
        return cls(tree.prefix, tree)

    def __reduce__(self) -> tuple[Callable[..., StorePath], tuple[object, ...]]:
        """Pickle how to reach it: another process opens the store anew."""
        return _unpickled, (self.tree.url, self.tree.settings, self.key)

    def __str__(self) -> str:
        return self.tree.bucket.url(self.key)

    @property
    def name(self) -> str:
        """The last part of its key; of the whole bucket its name."""
        return self.key.rpartition("/")[2] or self.tree.bucket_name

    @property
    def parent(self) -> Self:
        """The prefix that it is below."""
        return type(self)(self.key.rpartition("/")[0], self.tree)

    def __truediv__(self, name: str) -> Self:
        return type(self)(f"{self.key}/{name}" if self.key else name, self.tree)

    def absolute(self) -> Self:
        """Return itself."""
        return self

    def exists(self) -> bool:
        """Tell whether it is an object, or something is below it."""
        return self.is_file() or self.is_dir()

    def is_dir(self) -> bool:
        """Tell whether something is below it."""
        if self.key == self.tree.prefix:  # whoever may list it may not list what it is in
            return not self.key or any(self.tree.listing(self.key))
        return self.name in self._beside().folders

    def is_file(self) -> bool:
        """Tell whether it is an object."""
        return self.key != self.tree.prefix and self.name in self._beside().objects

    def iterdir(self) -> Iterator[Self]:
        """Return the objects and prefixes directly below it."""
        listing = self.tree.listing(self.key)
        for name in (*listing.folders, *listing.objects):
            yield self / name

    def version(self) -> ObjectVersion:
        """Return its version as it was listed. Raises FileNotFoundError."""
        found = self._beside().objects.get(self.name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return found

    def open_file(self, etag: str | None, **watch: Any) -> ObjectFile:
        """Open the version that `etag` names, or the one listed; `watch` is that of `Source.open`.

        Raises ChangedError if another one was listed, and FileNotFoundError.
        """
        version = self.version()
        if etag is not None and version.etag != etag:
            raise ChangedError(f"{self} has changed since it was listed; run the command again")
        return ObjectFile(self, version, **watch)

    def check_writable(self) -> None:
        """Raise UsageError if it is a bucket, and NotFoundError if there is no such bucket.

        Whether one may write there is known only once something is written.
        """
        if not self.key:
            raise UsageError(f"{self} is a bucket; name an object in it")
        with suppress(NotAuthorisedError):  # who may write need not be allowed to list
            self.tree.bucket.list(self.key)

    def write(self, data: bytes | Iterable[bytes]) -> None:
        """Write the object whole, or not at all."""
        new = self.new_file()
        for chunk in [data] if isinstance(data, bytes) else data:
            new.write(chunk)
        new.finish()
        self.tree.forget()

    def new_file(self) -> ObjectWriter:
        """Begin to write the object, which is there once it is finished."""
        return ObjectWriter(self.tree.bucket, self.key)

    def remove(self) -> None:
        """Remove the object, if it is there."""
        self.tree.bucket.remove(self.key)
        self.tree.forget()

    def close(self) -> None:
        """Release connections."""
        self.tree.bucket.close()

    def _beside(self) -> Listing:
        return self.tree.listing(self.key.rpartition("/")[0])


def _unpickled(url: str, settings: StoreSettings, key: str) -> StorePath:
    return StorePath(key, Tree(url, settings))


class ObjectFile:
    """One version of an object as an open file, read in ranges that are all bound to its ETag.

    While one piece is used, the next one is on its way.
    """

    def __init__(
        self,
        path: StorePath,
        version: ObjectVersion,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        self._path, self._version = path, version
        self._bucket = path.tree.bucket
        self._watch: dict[str, Any] = {"on_retry": on_retry, "cancel": cancel}
        self._budget = path.tree.settings.retries.budget
        self._piece_bytes = FIRST_BYTES
        self._place = 0  # of the next piece
        self._rest = memoryview(b"")  # of the piece before
        self._ahead: tuple[int, Future[tuple[ObjectVersion, memoryview]]] | None = None  # where the next piece ends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end; all of the rest for -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE_BYTES), b""))
        if not self._rest and self._place < self._version.size:
            self._rest = self._next_piece()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def seek(self, place: int) -> None:
        """Continue at a byte."""
        self._drop()
        self._place = place

    def check(self) -> None:
        """Do nothing: the store has given bytes of one version alone."""

    def check_end(self) -> None:
        """Do nothing: all bytes of this version were read, whatever has its name by now."""

    def _next_piece(self) -> memoryview:
        start = self._place
        stop, begun = self._ahead or (self._end_of_piece(start), None)
        self._ahead = None
        started = time.monotonic()
        retried = False

        def on_retry(seconds: float, busy: bool) -> None:
            nonlocal retried
            retried = True
            if watcher := self._watch["on_retry"]:
                watcher(seconds, busy)

        etag, data = self._bucket.read(
            self._path.key, self._version, start, stop, begun,
            budget=self._budget, on_retry=on_retry, cancel=self._watch["cancel"],
        )  # fmt: skip
        if retried:
            self._budget -= time.monotonic() - started
        self._version = self._version._replace(etag=etag)
        self._place = stop
        if start and stop < self._version.size:
            end = self._end_of_piece(stop)
            self._ahead = end, self._bucket.begin_read(self._path.key, etag, stop, end)
        return data

    def _end_of_piece(self, start: int) -> int:
        stop = min(self._version.size, start + self._piece_bytes)
        self._piece_bytes = min(PIECE_BYTES, 2 * self._piece_bytes)
        return stop

    def _drop(self) -> None:
        self._rest = memoryview(b"")
        if self._ahead:
            self._ahead[1].cancel()
            self._ahead = None
