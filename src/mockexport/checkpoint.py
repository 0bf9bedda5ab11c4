"""What was counted so far, kept in a file, so that finished work is never done twice.

The file is a journal of lines, each with a checksum in front: first what is being counted, then a line a finished
download, on disk before the next one is waited for. A line that was being written when the power went is dropped;
anything else that isn't as it was written makes the whole file refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Self

import orjson

from mockexport.counts import Counts
from mockexport.errors import UntrustedDataError, UsageError
from mockexport.output import sync_folder

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from mockexport.catalog import Download

__all__ = ["Checkpoint", "Subject"]

FORMAT = 1
CHECKSUM_DIGITS = 8
BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being counted, and how; a checkpoint of another subject is of no use."""

    source: str
    export: str
    skip_malformed: bool


class Checkpoint:
    """The counts of finished downloads, in a file. Use it in a `with`.

    Raises UsageError for a file that belongs to another subject or can't be written, and UntrustedDataError for one
    that is damaged; both name it, and leave it as it is.
    """

    def __init__(self, path: Path, subject: Subject) -> None:
        self._path = path
        self._subject = subject
        self._kept: dict[tuple[Any, ...], int] = {}  # where each one's line begins: the counts themselves may be much
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._begin()
        except OSError as error:
            self.close()
            raise UsageError(f"cannot write the checkpoint {self._path}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        return self

    def _begin(self) -> None:
        if self._path.exists() and not stat.S_ISREG(self._path.stat().st_mode):  # a pipe would be waited for
            raise UsageError(f"the checkpoint {self._path} is no file; choose another place")
        # Opened so that nothing in it changes before it is known to be ours, and locked before it is read.
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | BINARY, 0o666), "r+b")
        self._lock()
        whole = self._read(self._file)
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(self._head())
            sync_folder(self._path.absolute().parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            with contextlib.suppress(OSError):  # of what could not be written before, and was told
                self._file.close()
            self._file = None

    @property
    def count(self) -> int:
        """How many downloads are kept."""
        return len(self._kept)

    def find(self, download: Download) -> Counts | None:
        """Return what was counted in a download, if it is still the same one."""
        place = self._kept.get(key(download))
        if place is None:
            return None
        file = self._opened()
        file.seek(place)
        entry = orjson.loads(file.readline()[CHECKSUM_DIGITS + 1 :])
        file.seek(0, os.SEEK_END)
        return Counts(entry["patients"], entry["left_out"])

    def keep(self, download: Download, counts: Counts) -> None:
        """Put a finished download's counts on disk."""
        fields = dict(zip(("id", "rows", "etag"), key(download), strict=True))
        place = self._opened().tell()
        self._write({**fields, "patients": counts.patients, "left_out": counts.left_out})
        self._kept[key(download)] = place

    def _head(self) -> dict[str, Any]:
        subject = self._subject
        return {
            "mockexport_checkpoint": FORMAT,
            "source": subject.source,
            "export": subject.export,
            "skip_malformed": subject.skip_malformed,
        }

    def _write(self, entry: dict[str, Any]) -> None:
        file = self._opened()
        data = orjson.dumps(entry)
        try:
            file.write(b"%08x %s\n" % (zlib.crc32(data), data))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise UsageError(f"cannot write the checkpoint {self._path}: {error.strerror}") from error

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise ValueError("the checkpoint is not open")
        return self._file

    def _lock(self) -> None:
        """Keep a second run from writing to the same file, where the system can."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"the checkpoint {self._path} is in use by another run; wait for it") from error

    def _read(self, file: IO[bytes]) -> int:
        """Read what is there, a line at a time; return how many bytes of it are whole lines."""
        whole = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                if number == 1 and not self._looks_begun(line):
                    raise self._damaged(1)
                break
            entry = self._entry(number, line[:-1])
            if number == 1:
                if entry != self._head():
                    raise self._other(entry)
            else:
                self._note(number, entry, whole)
            whole += len(line)
        return whole

    def _note(self, number: int, entry: dict[str, Any], place: int) -> None:
        try:
            name = (entry["id"], entry["rows"], entry["etag"])
            Counts(entry["patients"], entry["left_out"])
            self._kept[name] = place
        except (KeyError, TypeError):
            raise self._damaged(number) from None

    def _looks_begun(self, data: bytes) -> bool:
        """Tell whether this is the beginning of our own first line, cut off."""
        head = orjson.dumps(self._head())
        return (b"%08x %s\n" % (zlib.crc32(head), head)).startswith(data)

    def _entry(self, number: int, line: bytes) -> dict[str, Any]:
        checksum, space, data = (
            line[:CHECKSUM_DIGITS],
            line[CHECKSUM_DIGITS : CHECKSUM_DIGITS + 1],
            line[CHECKSUM_DIGITS + 1 :],
        )
        if space != b" " or checksum != b"%08x" % zlib.crc32(data):
            raise self._damaged(number)
        try:
            entry = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._damaged(number) from None
        if not isinstance(entry, dict):
            raise self._damaged(number)
        return entry

    def _damaged(self, number: int) -> UntrustedDataError:
        if number == 1:
            return UntrustedDataError(f"{self._path} is no checkpoint, or a damaged one; choose another file")
        return UntrustedDataError(f"the checkpoint {self._path} is damaged in line {number}; remove it to begin anew")

    def _other(self, head: dict[str, Any]) -> UsageError:
        if head.get("mockexport_checkpoint") != FORMAT:
            return UsageError(f"{self._path} is no checkpoint of this version; choose another file")
        what = f"export {head.get('export')!r} from {head.get('source')}"
        if head.get("skip_malformed"):
            what += ", malformed rows left out"
        return UsageError(f"the checkpoint {self._path} belongs to {what}; choose another file, or remove it")


def key(download: Download) -> tuple[str, int | None, str | None]:
    """Return what a download must still be for its counts to stand."""
    return download.id, download.rows, download.etag
