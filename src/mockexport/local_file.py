"""Local files, each read as one version of its bytes (identity.py), and opened without waiting.

A file's version is compared after each read, before the bytes are used: a change shows in its ctime, which no program
can set back. The ctime is only as precise as the kernel's clock. So a version counts only once it is older than a tick
of that clock: then every later write gets another ctime.
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

__all__ = ["LocalFile", "local_versions"]

YOUNG_SECONDS = 0.02  # two ticks of the slowest kernel clock (100 Hz)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a FIFO opens at once, and is refused; regular files are not affected


def local_versions(paths: Iterable[Path]) -> dict[Path, FileVersion | None]:
    """Return the version of each file, None for one that is being written at this moment.

    Waits for at most `YOUNG_SECONDS`. Raises UntrustedDataError for one that is not a regular file, and OSError.
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
    """Return whether a file changed so recently that its next change could get the same ctime."""
    return time.time_ns() - version.changed < YOUNG_SECONDS * 1e9


def _version(path: Path, status: os.stat_result) -> FileVersion:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedDataError(f"{path} is not a regular file; remove or replace it")
    return FileVersion.of(status)


class LocalFile:
    """A file opened as the version that `etag` names, or as its present version. Use it in a `with`.

    Raises ChangedError if it has another version, UntrustedDataError if it is not a regular file, and OSError.
    """

    def __init__(self, path: Path, etag: str | None = None) -> None:
        self._path = path
        _version(path, path.stat())  # before it is opened: opening a device may have side effects
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
        if etag is None and _is_young(self._version):  # with an ETag, it was old enough when it was listed
            time.sleep(YOUNG_SECONDS)
            self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def etag(self) -> str:
        """The ETag of its version."""
        return self._version.etag

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._version.size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Call `check` before you use them: it proves that they are of this version."""
        return self._file.read(size) or b""

    def seek(self, place: int) -> None:
        """Continue at a byte."""
        self._file.seek(place)

    def check(self) -> None:
        """Raise ChangedError if the file has changed since it was opened."""
        self._version.check(FileVersion.of(os.fstat(self._file.fileno())), self._path)

    def check_end(self) -> None:
        """At the end of the file: raise ChangedError if it has changed, or its path leads to another file."""
        self.check()
        try:
            self._version.check(FileVersion.of(self._path.stat()), self._path)
        except FileNotFoundError:
            raise ChangedError(f"{self._path} was removed while it was read") from None
        if self._file.tell() < self._version.size:
            raise ChangedError(f"{self._path} ended after {self._file.tell()} of its {self._version.size} bytes")
