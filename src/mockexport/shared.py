"""What the servers of one service share besides the data: small documents, by kind and name, until they expire.

A server by itself keeps them in memory, `InMemory`. Where several identical servers stand behind a load balancer, any
of them may get the next request of a client; so they keep them in a database that all of them reach.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Document", "Documents", "InMemory", "NoRoomError"]


class Document(NamedTuple):
    """A document, and the time at which it expires, in seconds since 1970."""

    body: bytes
    expires: float


class NoRoomError(Exception):
    """There are as many documents of a kind as may be; the first one expires at `expires`, in seconds since 1970."""

    def __init__(self, expires: float) -> None:
        super().__init__(expires)
        self.expires = expires


class Documents(Protocol):
    """Documents by kind and id. One that has expired is as good as deleted. Safe to share between threads.

    All methods may wait for a database, for some seconds at the most, and then raise UnreachableError.
    """

    clock: Callable[[], float]
    """Tells the seconds since 1970."""

    def add(self, kind: str, name: str, body: bytes, expires: float, *, most: int) -> bool:
        """Store a document unless there is one with this name; return whether it was stored.

        Raises NoRoomError if there are `most` documents of the kind already.
        """

    def put(self, kind: str, name: str, body: bytes, expires: float) -> None:
        """Store a document, in place of any with this name."""

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document, None if there is none."""

    def extend(self, kind: str, name: str, expires: float) -> Document | None:
        """Return a document, which now expires no earlier than `expires`; None if there is none."""

    def names(self, kind: str) -> list[str]:
        """Return the names of the documents of a kind, in the order in which they were first stored."""

    def delete(self, kind: str, name: str) -> bool:
        """Delete a document; return whether there was one."""


class InMemory:
    """Documents in the memory of this process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._kinds: dict[str, dict[str, Document]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, name: str, body: bytes, expires: float, *, most: int) -> bool:
        """Store a document unless there is one with this name; return whether it was stored. Raises NoRoomError."""
        with self._lock:
            documents = self._current(kind)
            if name in documents:
                return False
            if len(documents) >= most:
                raise NoRoomError(min((document.expires for document in documents.values()), default=self.clock()))
            documents[name] = Document(body, expires)
            return True

    def put(self, kind: str, name: str, body: bytes, expires: float) -> None:
        """Store a document, in place of any with this name."""
        with self._lock:
            self._current(kind)[name] = Document(body, expires)

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document, None if there is none."""
        with self._lock:
            return self._found(kind, name)

    def extend(self, kind: str, name: str, expires: float) -> Document | None:
        """Return a document, which now expires no earlier than `expires`; None if there is none."""
        with self._lock:
            document = self._found(kind, name)
            if document and document.expires < expires:
                document = self._kinds[kind][name] = document._replace(expires=expires)
            return document

    def names(self, kind: str) -> list[str]:
        """Return the names of the documents of a kind, in the order in which they were first stored."""
        with self._lock:
            return list(self._current(kind))

    def delete(self, kind: str, name: str) -> bool:
        """Delete a document; return whether there was one."""
        with self._lock:
            return self._found(kind, name) is not None and self._kinds[kind].pop(name, None) is not None

    def _found(self, kind: str, name: str) -> Document | None:
        document = self._kinds.get(kind, {}).get(name)
        return document if document and self.clock() < document.expires else None

    def _current(self, kind: str) -> dict[str, Document]:
        """Return the documents of a kind, without those that have expired."""
        now = self.clock()
        documents = self._kinds.setdefault(kind, {})
        for name in [name for name, document in documents.items() if document.expires <= now]:
            del documents[name]
        return documents
