"""A download on its way to disk, which a later run can go on with.

    .<download>.csv.part         its bytes so far
    .<download>.csv.part.json    how many of them are on disk for certain, their SHA-256, and the ETag that names them

The name that is not hidden belongs to whole files alone. Bytes beyond those that are on disk for certain are dropped:
after a power cut there may be anything in their place.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO, TYPE_CHECKING, Self

import orjson

from mockexport.errors import StartAnewError, UsageError
from mockexport.output import json_bytes, sync_folder, write_atomically
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from mockexport.catalog import Download
    from mockexport.tally import Tally

__all__ = ["PartialFile"]

SYNC_BYTES = 64 << 20  # this much is fetched again at the most
READ_BYTES = 1 << 20
BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends


class PartialFile:
    """The file that `path` will be; a Sink for its bytes, to be used in a `with`. Raises OSError as files do."""

    def __init__(self, path: Path, download: Download) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._note = path.with_name(f".{path.name}.part.json")
        self._download = download
        self._opened: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._size = self._synced = 0

    def __enter__(self) -> Self:
        # Opened so that nothing in it changes before it is locked.
        self._opened = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT | BINARY, 0o666), "r+b")
        try:
            self._lock()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened:
            if not self._synced:  # of no use to a later run
                self._part.unlink(missing_ok=True)
            self._opened.close()
            self._opened = None

    def begin(self, tally: Tally, *, anew: bool) -> int:
        """Feed what is there and trusted to the tally, and return how many bytes that is.

        Raises StartAnewError when it turns out not to be what it was.
        """
        file = self._file
        self._digest = hashlib.sha256()
        self._size = self._synced = 0
        wanted, sha256 = (0, "") if anew else self._trusted()
        if not wanted:  # first of all, so that it never speaks of other bytes than those that it was written for
            self._note.unlink(missing_ok=True)
        file.seek(0)
        try:
            while self._size < wanted and (chunk := file.read(min(READ_BYTES, wanted - self._size))):
                tally.feed(chunk)
                self._digest.update(chunk)
                self._size += len(chunk)
        except Malformed:
            raise self._spoilt() from None
        if wanted and (self._size, self._digest.hexdigest()) != (wanted, sha256):
            raise self._spoilt()
        self._synced = self._size
        file.seek(self._size)
        file.truncate()
        return self._size

    def _spoilt(self) -> StartAnewError:
        return StartAnewError(f"the part of {self._path} that is there is not what it was")

    def write(self, chunk: bytes, /) -> None:
        """Keep the next bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._size - self._synced >= SYNC_BYTES and self._download.etag is not None:
            self._sync()
            self._synced = self._size
            document = {
                "etag": self._download.etag,
                "rows": self._download.rows,
                "bytes": self._size,
                "sha256": self._digest.hexdigest(),
            }
            write_atomically(self._note, json_bytes(document))

    def finish(self) -> tuple[int, str]:
        """Give the file its name, all of it on disk; return its size and SHA-256."""
        self._sync()
        self._part.replace(self._path)
        self._synced = self._size
        self._note.unlink(missing_ok=True)
        sync_folder(self._path.parent)
        return self._size, self._digest.hexdigest()

    @property
    def _file(self) -> IO[bytes]:
        if self._opened is None:
            raise ValueError("the file is not open")
        return self._opened

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _lock(self) -> None:
        """Keep a second run from writing to the same file, where the system can."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{self._path} is being fetched by another run; wait for it") from error

    def _trusted(self) -> tuple[int, str]:
        """Return how many of the bytes there are of this very download and on disk for certain, and their SHA-256."""
        nothing = (0, "")
        if self._download.etag is None:
            return nothing
        try:
            note = orjson.loads(self._note.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return nothing
        same = isinstance(note, dict) and (note.get("etag"), note.get("rows")) == (
            self._download.etag,
            self._download.rows,
        )
        size, sha256 = (note.get("bytes"), note.get("sha256")) if same else nothing
        if isinstance(size, int) and isinstance(sha256, str) and 0 < size <= self._part.stat().st_size:
            return size, sha256
        return nothing
