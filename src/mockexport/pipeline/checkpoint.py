"""What was counted so far, kept in a file, so that finished work is never done twice.

The file is a journal of lines, each with a checksum in front: first what is being counted, then a line a finished
download, on disk before the next one is waited for. A line that was being written when the power went is dropped;
anything else that isn't as it was written makes the whole file refused.

Only a download whose bytes have a name, a strong ETag, is kept (identity.py): without one nothing would tell the counts
of other bytes from its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import orjson

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.files import open_locked, sync_folder
from mockexport.identity import is_strong
from mockexport.model import Counts
from mockexport.tally import CSV, FHIR, CsvFormat, FhirFormat

if TYPE_CHECKING:
    from types import TracebackType

    from mockexport.model import Download

__all__ = ["Checkpoint", "Subject"]

FORMAT = 2  # 1 kept downloads that no strong ETag names
CHECKSUM_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being counted, and how; a checkpoint of another subject cannot be used."""

    source: str
    export: str
    skip_malformed: bool
    csv: CsvFormat = CSV
    fhir: FhirFormat = FHIR


class Checkpoint:
    """The counts of finished downloads, in a file. Use it in a `with`.

    Raises UsageError for a file that belongs to another subject or can't be written, and UntrustedDataError for one
    that is damaged; both name it, and leave it as it is.
    """

    def __init__(self, path: Path, subject: Subject) -> None:
        self._path = path
        self._subject = subject
        self._kept: dict[tuple[Any, ...], int] = {}  # where each one's line begins: the counts themselves may be much
        self._nameless = 0
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
            raise UsageError(f"the checkpoint {self._path} is not a file; choose another place")
        path = Path(os.path.realpath(self._path))
        self._file = open_locked(path, f"the checkpoint {self._path} is in use by another run; wait for it")
        sync_folder(path.parent)
        whole = self._read(self._file)
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(self._head())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            with contextlib.suppress(OSError):  # of what could not be written before, and was told
                self._file.close()
            self._file = None

    @property
    def count(self) -> int:
        """How many downloads are kept."""
        return len(self._kept)

    @property
    def nameless(self) -> int:
        """How many downloads were looked for that can't be kept: no strong ETag names their bytes."""
        return self._nameless

    def find(self, download: Download) -> Counts | None:
        """Return what was counted in a download, if it is certain to be the same one."""
        if not is_strong(download.etag):
            self._nameless += 1
            return None
        place = self._kept.get(key(download))
        if place is None:
            return None
        file = self._opened()
        file.seek(place)
        entry = from_json(file.readline()[CHECKSUM_DIGITS + 1 :])
        file.seek(0, os.SEEK_END)
        return _counts(entry)

    def keep(self, download: Download, counts: Counts) -> None:
        """Put a finished download's counts on disk, unless its bytes have no name by which to know them again."""
        if not is_strong(download.etag):
            return
        fields = dict(zip(("id", "rows", "etag"), key(download), strict=True))
        entry = {**fields, "patients": counts.patients, "left_out": counts.left_out}
        self._kept[key(download)] = self._opened().tell()  # now: Ctrl-C may come while the line waits for the disk
        try:
            self._write({**entry, "unassigned": counts.unassigned} if counts.unassigned else entry)
        except UsageError:
            del self._kept[key(download)]
            raise

    def _head(self) -> dict[str, Any]:
        subject = self._subject
        head: dict[str, Any] = {
            "mockexport_checkpoint": FORMAT,
            "source": subject.source,
            "export": subject.export,
            "skip_malformed": subject.skip_malformed,
        }
        if subject.csv != CSV:
            head["csv"] = asdict(subject.csv)
        if subject.fhir != FHIR:
            head["fhir"] = asdict(subject.fhir)
        return head

    def _write(self, entry: dict[str, Any]) -> None:
        file = self._opened()
        data = as_json(entry)
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
            _counts(entry)
            self._kept[name] = place
        except (KeyError, TypeError):
            raise self._damaged(number) from None

    def _looks_begun(self, data: bytes) -> bool:
        """Tell whether this is the beginning of our own first line, cut off."""
        head = as_json(self._head())
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
            entry = from_json(data)
        except (ValueError, RecursionError):
            raise self._damaged(number) from None
        if not isinstance(entry, dict):
            raise self._damaged(number)
        return entry

    def _damaged(self, number: int) -> UntrustedDataError:
        if number == 1:
            return UntrustedDataError(f"{self._path} is not a checkpoint, or is damaged; choose another file")
        return UntrustedDataError(f"the checkpoint {self._path} is damaged in line {number}; remove it to start over")

    def _other(self, head: dict[str, Any]) -> UsageError:
        found = head.get("mockexport_checkpoint")
        if isinstance(found, int) and found < FORMAT:
            return UsageError(
                f"the checkpoint {self._path} has format {found}, of an earlier version; this version reads {FORMAT}: "
                "choose another file, or remove it"
            )
        if found != FORMAT:
            return UsageError(f"{self._path} is not a checkpoint of this version; choose another file")
        what = f"export {head.get('export')!r} from {head.get('source')}"
        if head.get("skip_malformed"):
            what += ", malformed rows left out"
        return UsageError(f"the checkpoint {self._path} belongs to {what}; choose another file, or remove it")


def _counts(entry: dict[str, Any]) -> Counts:
    return Counts(entry["patients"], entry["left_out"], entry.get("unassigned", {}))


def key(download: Download) -> tuple[str, int | None, str | None]:
    """Return what a download must still be for its counts to stand."""
    return download.id, download.rows, download.etag


def as_json(entry: dict[str, Any]) -> bytes:
    """Write JSON in ASCII: names of files that are not UTF-8 come back from it as they were, too."""
    return json.dumps(entry, separators=(",", ":")).encode()


def from_json(data: bytes) -> Any:
    """Read JSON; raises ValueError. A checkpoint of many downloads is read four times as fast by orjson."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:  # it takes no such names
        return json.loads(data)
