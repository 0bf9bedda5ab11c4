"""A download on its way to an object store. A store has no partial objects: one that is not finished is begun again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from mockexport.place import NewFile, RemotePlace
    from mockexport.tally import Accumulator, Result

__all__ = ["ObjectPart"]


class ObjectPart:
    """The object that `place` will be; a Sink for its bytes, to be used in a `with`, as `PartialFile` is."""

    def __init__(self, place: RemotePlace) -> None:
        self._place = place
        self._opened: NewFile | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened = None

    def begin(self, accumulator: Accumulator[Result], *, resume: bool) -> int:  # noqa: ARG002 - nothing is kept
        """Begin at the first byte; what was written before never appears."""
        self._opened = self._place.new_file()
        self._digest = hashlib.sha256()
        self._size = 0
        return 0

    def write(self, chunk: bytes, /) -> None:
        """Add the next bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self._size += len(chunk)

    def finish(self) -> tuple[int, str]:
        """Have the object appear; return its size and SHA-256."""
        self._file.finish()
        return self._size, self._digest.hexdigest()

    def forget(self) -> None:
        """Do nothing: no part is kept."""

    @property
    def _file(self) -> NewFile:
        if self._opened is None:
            raise ValueError("the object is not open")
        return self._opened
