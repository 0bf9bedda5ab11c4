"""Read one download for `reconcile`: its counts and facts, its bytes and their SHA-256, and the keys of its records."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from mockexport.errors import MissingError, MockExportError, NotFoundError, Remedy, UsageError
from mockexport.pipeline.reading import read_download
from mockexport.reconciliation import RECORD_BYTES, Bytes
from mockexport.sorting import RunWriter

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.model import Download
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.reconciliation import CsvReading, Found, FoundRecords, ResourceReading
    from mockexport.sorting import Runs
    from mockexport.source import Source
    from mockexport.tally import Accumulator, Result

__all__ = ["Broken", "ReadTask", "WholeRecords", "read_records"]


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A download to read, and with what; its keys are sorted in runs of `memory` bytes, in files of `folder`."""

    number: int
    download: Download
    spec: CsvReading | ResourceReading
    folder: Path
    memory: int


@dataclass(frozen=True, slots=True)
class WholeRecords:
    """What was read of a download: what was found in it, its bytes, and the sorted keys of its records and ids."""

    found: Found
    seen: Bytes
    records: Runs
    ids: Runs


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a download could not be read; it is `missing` if there is none."""

    reason: str
    missing: bool


def read_records(source: Source, task: ReadTask, progress: TaskProgress) -> WholeRecords | Broken:
    """Read a download, in a worker.

    Raises UsageError for what is wrong here: a full disk, a kernel that is missing. Raises UntrustedDataError for too
    many pairs: the limit is ours, and says nothing of the download.
    """
    with RecordSink(task) as sink:
        try:
            found, rows = read_download(source, task.download, task.spec, progress, sink, other_rows=True)
        except UsageError:
            raise
        except MockExportError as error:
            if error.remedy is Remedy.MAX_PAIRS:
                raise
            progress.finish(0)
            return Broken(error.message, isinstance(error, MissingError | NotFoundError))
        progress.finish(rows)
        return sink.whole(found)


class RecordSink:
    """Takes what a reading gives as it goes: bytes and keys; the contract is `mockexport.pipeline.reading.Sink`."""

    def __init__(self, task: ReadTask) -> None:
        self._task = task
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def begin(self, accumulator: Accumulator[Result], *, resume: bool) -> int:  # noqa: ARG002 - nothing is kept
        """Begin, or start over: what was taken so far is dropped."""
        self._open.close()
        task, half = self._task, self._task.memory // 2
        self._accumulator = cast("FoundRecords", accumulator)
        self._size, self._hash = 0, hashlib.sha256()
        ids = getattr(task.spec, "ids", False)
        self._records, self._ids = (
            self._open.enter_context(
                RunWriter(RECORD_BYTES, folder=task.folder, memory=memory, kernel=task.spec.kernel)
            )
            for memory in ((half, half) if ids else (task.memory, 1))
        )
        return 0

    def write(self, chunk: bytes, /) -> None:
        """Take the next bytes, and the keys of the rows that have ended in them."""
        self._size += len(chunk)
        self._hash.update(chunk)
        self._take()

    def whole(self, found: Found) -> WholeRecords:
        """Return all of it, with the last keys."""
        self._take()
        seen = Bytes(self._size, self._hash.hexdigest())
        return WholeRecords(found, seen, self._records.finish(), self._ids.finish())

    def _take(self) -> None:
        self._records.add(self._accumulator.take_records())
        self._ids.add(self._accumulator.take_ids())
