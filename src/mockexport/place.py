"""Places: files and folders, on disk or in an object store, by the few things that reading them takes.

A `pathlib.Path` is a place. So is `stores.StorePath`, which also opens itself: whatever reads exports from folders
reads them from a store, by the same rules.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from mockexport.files import write_atomically
from mockexport.local_file import LocalFile, local_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

__all__ = [
    "NewFile", "OpenFile", "Place", "RemotePlace", "Version",
    "file_versions", "open_file", "read_whole", "remove_file", "write_whole",
]  # fmt: skip


class Place(Protocol):
    """A file or a folder. `str` of it is what a user would call it. Raises OSError or our own errors."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def parent(self) -> Self:
        """The folder that it is in."""

    def __truediv__(self, name: str, /) -> Self:
        """Return a file or a folder in this one."""

    def __lt__(self, other: Any, /) -> bool:
        """Tell which one comes first, by their paths."""

    def absolute(self) -> Self:
        """Return it by a name that holds for other processes too."""

    def exists(self) -> bool:
        """Tell whether it is there."""

    def is_dir(self) -> bool:
        """Tell whether it is a folder."""

    def is_file(self) -> bool:
        """Tell whether it is a file."""

    def iterdir(self) -> Iterator[Self]:
        """Return what is in a folder."""


class Version(Protocol):
    """A version of a file: what names its bytes, None if nothing does, and how many these are."""

    @property
    def etag(self) -> str | None:
        """What names its bytes (identity.py)."""

    @property
    def size(self) -> int:
        """How many bytes it has."""


class OpenFile(Protocol):
    """An open file, whose bytes are all of one version. Use it in a `with`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, all of the rest for -1. Call `check` before you use them."""

    def seek(self, place: int) -> None:
        """Continue at a byte."""

    def check(self) -> None:
        """Raise ChangedError if the file has changed since it was opened."""

    def check_end(self) -> None:
        """At the end of the file: raise ChangedError if it has changed."""


class NewFile(Protocol):
    """A file that is being written; it is there once it is finished, and not before."""

    def write(self, chunk: bytes, /) -> None:
        """Add bytes."""

    def finish(self) -> None:
        """Give the file its name."""


@runtime_checkable
class RemotePlace(Protocol):
    """A place that is not on disk."""

    def version(self) -> Version:
        """Return the version of a file as it was listed. Raises FileNotFoundError."""

    def open_file(self, etag: str | None, **watch: Any) -> OpenFile:
        """Open the version of a file that `etag` names, or the one listed; `watch` is that of `Source.open`."""

    def check_writable(self) -> None:
        """Raise UsageError if it cannot be a file, and NotFoundError if there is no such bucket."""

    def write(self, data: bytes | Iterable[bytes]) -> None:
        """Write a file whole, or not at all."""

    def new_file(self) -> NewFile:
        """Begin to write a file, which is there once it is finished."""

    def remove(self) -> None:
        """Remove a file, if it is there."""


def file_versions(places: Iterable[Place]) -> dict[Any, Version | None]:
    """Return the version of each file, None for one that is being written at this moment.

    Raises what `local_versions` and `RemotePlace.version` raise.
    """
    places = list(places)
    local = local_versions(place for place in places if isinstance(place, Path))
    remote = {place: place.version() for place in places if isinstance(place, RemotePlace)}
    return {**local, **remote}


def open_file(place: Place, etag: str | None = None, **watch: Any) -> OpenFile:
    """Open the version of a file that `etag` names, or its present one. Raises ChangedError for another, and OSError.

    `watch` is that of `Source.open`; reading from disk never waits for long.
    """
    if isinstance(place, RemotePlace):
        return place.open_file(etag, **watch)
    return LocalFile(Path(str(place)), etag)


def read_whole(place: Place) -> bytes:
    """Return the bytes of a small file, all of one version. Raises what `open_file` raises."""
    with open_file(place) as file:
        data = file.read()
        file.check_end()
        return data


def write_whole(place: Place, data: bytes | Iterable[bytes], *, follow_link: bool = True) -> None:
    """Write a file whole, or not at all. Raises what `write_atomically` and `RemotePlace.write` raise."""
    if isinstance(place, RemotePlace):
        place.write(data)
    else:
        write_atomically(Path(str(place)), data, follow_link=follow_link)


def remove_file(place: Place) -> None:
    """Remove a file, if it is there. Raises OSError and what `RemotePlace.remove` raises."""
    if isinstance(place, RemotePlace):
        place.remove()
    else:
        Path(str(place)).unlink(missing_ok=True)
