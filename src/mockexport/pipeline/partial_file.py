"""A download on its way to disk, which a later run can resume.

    .<download>.csv.part         its bytes so far
    .<download>.csv.part.json    how many of them are on disk for certain, their SHA-256, and what names them: the
                                 source and its strong ETag; ETags of two sources are not comparable (RFC 9110, 8.8.1)

A file that Ctrl-C or a lost connection ends is kept to its last byte, one that is killed to the last 64 MiB.

The name that is not hidden belongs to whole files alone. Bytes beyond those that are on disk for certain are dropped:
after a power cut there may be anything in their place.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

import orjson

from mockexport.encoding import json_bytes
from mockexport.errors import NotResumableError, UnreachableError, UntrustedDataError
from mockexport.files import open_locked, sync_folder, write_atomically
from mockexport.identity import is_strong
from mockexport.pipeline.progress import Cancelled
from mockexport.place import read_whole
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from mockexport.model import Download
    from mockexport.tally import Accumulator, Result

__all__ = ["PartialFile"]

SYNC_BYTES = 64 << 20  # this much is fetched again at the most, after a kill or a power cut
READ_BYTES = 1 << 20


class PartialFile:
    """The file that `path` will be; a Sink for its bytes, to be used in a `with`. Raises OSError as files do.

    `source` is what the user called the source of the bytes.
    """

    def __init__(self, path: Path, download: Download, source: str) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._note = path.with_name(f".{path.name}.part.json")
        self._name = {"source": source, "etag": download.etag, "rows": download.rows}
        self._can_resume = is_strong(download.etag)
        self._opened: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._size = self._synced = 0

    def __enter__(self) -> Self:
        self._opened = open_locked(self._part, f"{self._path} is being fetched by another run; wait for it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened:
            if isinstance(error, Cancelled | UnreachableError) and not isinstance(error, NotResumableError):
                with suppress(OSError):  # a full disk, say: what ended the reading is what matters
                    self._keep()
            if not self._synced:  # of no use to a later run
                self._part.unlink(missing_ok=True)
            self._opened.close()
            self._opened = None

    def begin(self, accumulator: Accumulator[Result], *, resume: bool) -> int:
        """Feed what is there and trusted to the accumulator, and return how many bytes that is; none without `resume`.

        Raises NotResumableError when it turns out not to be what it was.
        """
        file = self._file
        self._digest = hashlib.sha256()
        self._size = self._synced = 0
        wanted, sha256 = self._trusted() if resume else (0, "")
        if not wanted:  # first of all, so that it never speaks of other bytes than those that it was written for
            self._note.unlink(missing_ok=True)
        file.seek(0)
        try:
            while self._size < wanted and (chunk := file.read(min(READ_BYTES, wanted - self._size))):
                accumulator.feed(chunk)
                self._digest.update(chunk)
                self._size += len(chunk)
        except Malformed:
            raise self._changed() from None
        if wanted and (self._size, self._digest.hexdigest()) != (wanted, sha256):
            raise self._changed()
        self._synced = self._size
        file.seek(self._size)
        file.truncate()
        return self._size

    def _changed(self) -> NotResumableError:
        return NotResumableError(f"the part of {self._path} that was kept has changed")

    def write(self, chunk: bytes, /) -> None:
        """Keep the next bytes."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._size - self._synced >= SYNC_BYTES:
            self._keep()

    def _keep(self) -> None:
        """Have all bytes so far on disk, and note it."""
        if self._can_resume and self._size > self._synced:
            self._sync()
            self._synced = self._size
            document = {**self._name, "bytes": self._size, "sha256": self._digest.hexdigest()}
            write_atomically(self._note, json_bytes(document), follow_link=False)

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

    def forget(self) -> None:
        """Remove what an earlier run had begun; to be called where the file is not needed."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def kept(self) -> int:
        """Return how many bytes a later run of the same source goes on behind."""
        try:
            return self._trusted()[0]
        except FileNotFoundError:
            return 0

    def _trusted(self) -> tuple[int, str]:
        """Return how many of the bytes there are of this very download and on disk for certain, and their SHA-256."""
        nothing = (0, "")
        if not self._can_resume:
            return nothing
        try:
            note = orjson.loads(read_whole(self._note))
        except (OSError, UntrustedDataError, orjson.JSONDecodeError):
            return nothing
        if not isinstance(note, dict) or any(note.get(key) != value for key, value in self._name.items()):
            return nothing
        size, sha256 = note.get("bytes"), note.get("sha256")
        if isinstance(size, int) and isinstance(sha256, str) and 0 < size <= self._part.stat().st_size:
            return size, sha256
        return nothing
