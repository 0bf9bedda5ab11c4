"""Local files, each read as one version of its bytes (identity.py), and never waited for.

A file's version is looked at again after each read, before anyone gets what was read: a change shows in the time of the
last change, which no program can set back. That time is only as fine as the kernel's clock, so a version is taken when
it is no longer young: what is written after that gets another time.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from typing import TYPE_CHECKING, Self

from mockexport.errors import ChangedError, UntrustedDataError
from mockexport.identity import FileVersion

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

__all__ = ["LocalFile", "file_versions", "read_whole"]

YOUNG_SECONDS = 0.02  # two ticks of the slowest kernel clock (100 Hz)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a FIFO is opened at once, to be refused; for a regular file it means nothing


def file_versions(paths: Iterable[Path]) -> dict[Path, FileVersion | None]:
    """Return the version of each file; None for one that is being written just now.

    Raises UntrustedDataError for what is not a regular file. Waits for `YOUNG_SECONDS` at most.
    """
    versions: dict[Path, FileVersion | None] = {path: _version(path, path.stat()) for path in paths}
    young = [path for path, version in versions.items() if version and _is_young(version)]
    if young:
        time.sleep(YOUNG_SECONDS)
    for path in young:
        if versions[path] != FileVersion.of(path.stat()):
            versions[path] = None
    return versions


def _is_young(version: FileVersion) -> bool:
    """Tell whether a file changed so recently that its next change could get the same time."""
    return time.time_ns() - version.changed < YOUNG_SECONDS * 1e9


def _version(path: Path, status: os.stat_result) -> FileVersion:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedDataError(f"{path} is not a regular file; move it away, or put a file there")
    return FileVersion.of(status)


class LocalFile:
    """A file opened as the version that `etag` names, or else as the one that is there. Use it in a `with`.

    Raises ChangedError when it is of another version, UntrustedDataError when it is not a regular file, and OSError.
    """

    def __init__(self, path: Path, etag: str | None = None) -> None:
        self._path = path
        _version(path, path.stat())  # before it is opened: to open a device may do something to it
        self._file = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | NO_WAIT))
        try:
            self._version = _version(path, os.fstat(self._file.fileno()))
            self._begin(etag)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, etag: str | None) -> None:
        if etag is not None and self._version.etag != etag:
            raise ChangedError(f"{self._path} has changed since it was listed, or is another file on this machine")
        if etag is None and _is_young(self._version):  # a version with an ETag was old enough when it was listed
            time.sleep(YOUNG_SECONDS)
            self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; only after `check` is it certain that they are of this version."""
        return self._file.read(size) or b""

    def seek(self, place: int) -> None:
        """Go to a byte."""
        self._file.seek(place)

    def check(self) -> None:
        """Raise ChangedError when the file is of another version by now."""
        self._version.check(FileVersion.of(os.fstat(self._file.fileno())), self._path)

    def check_end(self) -> None:
        """At the end of the file: raise ChangedError when it, or what its path leads to, is of another version."""
        self.check()
        try:
            self._version.check(FileVersion.of(self._path.stat()), self._path)
        except FileNotFoundError:
            raise ChangedError(f"{self._path} was removed while it was read") from None
        if self._file.tell() < self._version.size:
            raise ChangedError(f"{self._path} ended after {self._file.tell()} of its {self._version.size} bytes")


def read_whole(path: Path) -> bytes:
    """Return the bytes of a small file, all of one version. Raises what LocalFile does."""
    with LocalFile(path) as file:
        data = file.read()
        file.check_end()
        return data
