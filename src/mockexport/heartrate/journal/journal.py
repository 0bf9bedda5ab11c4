"""The journal: where readings are before anything else knows of them. What it has kept is on disk.

One thread writes. All batches that wait at a moment go into one transaction and share its fsync; their futures are
done when it is. After a failed write nothing more is kept until the file has been repaired, and that is tried again
with every batch and every second.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
import uuid
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from mockexport.errors import MockExportError
from mockexport.files import sync_folder
from mockexport.heartrate.journal.sqlite import (
    FORMAT,
    Checkpointer,
    Entry,
    cannot_open,
    check_format,
    connect,
    empty_log,
    meta_of,
    set_meta,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Journal", "JournalError", "JournalFullError", "SqliteJournal"]

GROUP_BYTES = 8 << 20  # a commit's size is bounded, and so is the time that its batches wait
DELETED_AT_ONCE = 64  # rows; letting go of many is done in steps, so that batches needn't wait for it
LAST_ID = (1 << 53) - 1  # 1,024 sequences a batch are 64-bit numbers up to here
LAST_CLOCK_ID = 1 << 52  # the year 2112; a clock that says more is wrong, and the ids that it would take are not given
PROBE_SECONDS = 1.0
WAIT_SECONDS = 60.0

log = logging.getLogger(__name__)


class JournalError(MockExportError):
    """A batch could not be kept; nothing of it was acknowledged. It may be sent again."""

    exit_code: ClassVar[int] = 5


class JournalFullError(JournalError):
    """The journal holds as much as it may; `retry_after` tells in how many seconds to try again."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Journal(Protocol):
    """Keeps batches in order until they are released. Safe to use from any thread."""

    @property
    def id(self) -> str:
        """Names this very journal, for ever."""

    @property
    def version(self) -> int | None:
        """The newest version of the table known to be on disk, None when none was noted."""

    @property
    def checkpoint(self) -> int | None:
        """The newest checkpoint of the table known to be on disk."""

    @property
    def seen(self) -> int | None:
        """What was noted last of the clock, in microseconds since 1970."""

    def entries(self) -> Sequence[Entry]:
        """Return what was kept and not released when the journal was opened, by id; once, before any `append`."""

    def append(self, payload: bytes) -> Future[None]:
        """Keep a batch; the future is done when it is on disk, or fails with JournalError."""

    def release(self, position: int, version: int) -> None:
        """Let go of all up to `position`: they are on disk in `version` of the table. Raises JournalError."""

    def note(self, version: int, checkpoint: int | None = None) -> None:
        """Note that a version of the table, and a checkpoint of it, are on disk. Raises JournalError."""

    def see(self, time: int) -> None:
        """Note what the clock says, in microseconds since 1970. Raises JournalError."""

    def problem(self) -> str | None:
        """Tell why a batch would not be kept now."""

    def close(self) -> None:
        """Keep what waits and let go of the file."""


@dataclass(slots=True)
class _Waiting:
    """Something to be done in the next commit: a batch to keep, or else a change of what is noted."""

    future: Future[None]
    payload: bytes | None = None
    change: Callable[[sqlite3.Connection], None] | None = None


class SqliteJournal:
    """A journal in a SQLite file, one row a batch; write-ahead log, `synchronous=FULL`.

    `kept` is called with every group that is on disk, before its futures are done. Raises UsageError for a file of
    another format, or that can't be written, and UntrustedDataError for one that is no journal.
    """

    def __init__(self, path: Path, kept: Callable[[list[Entry]], None]) -> None:
        self._path = path
        self._kept = kept
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._problem: str | None = None
        self._released = self._last = 0
        self._version: int | None = None
        self._checkpoint: int | None = None
        self._seen: int | None = None
        self._at_start: list[Entry] = []
        self._doomed = False  # released rows are still there
        self.commits = self.group_size = self.largest_group = self.waiting_bytes = 0
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            raise cannot_open(path, error) from error
        self._checkpointer = Checkpointer(path)
        self._thread = threading.Thread(target=self._run, name="heart-rate journal", daemon=True)
        self._thread.start()

    @property
    def id(self) -> str:
        """Names this very journal, for ever."""
        return self._id

    @property
    def version(self) -> int | None:
        """The newest version of the table known to be on disk."""
        return self._version

    @property
    def checkpoint(self) -> int | None:
        """The newest checkpoint of the table known to be on disk."""
        return self._checkpoint

    @property
    def seen(self) -> int | None:
        """What was noted last of the clock."""
        return self._seen

    @property
    def position(self) -> int:
        """The id of the newest batch on disk."""
        return self._last

    @property
    def released(self) -> int:
        """The id of the newest batch that was released."""
        return self._released

    def entries(self) -> list[Entry]:
        """Return what was there when it was opened, once."""
        found, self._at_start = self._at_start, []
        return found

    def append(self, payload: bytes) -> Future[None]:
        """Keep a batch; the future is done when it is on disk, or fails with JournalError."""
        return self._submit(_Waiting(Future(), payload=payload))

    def release(self, position: int, version: int) -> None:
        """Let go of all up to `position`."""

        def change(connection: sqlite3.Connection) -> None:
            set_meta(connection, released=position, version=version)
            self._released, self._version, self._doomed = position, version, True

        self._change(change)

    def note(self, version: int, checkpoint: int | None = None) -> None:
        """Note a version of the table, and a checkpoint of it."""

        def change(connection: sqlite3.Connection) -> None:
            set_meta(connection, version=version, checkpoint=checkpoint or self._checkpoint)
            self._version, self._checkpoint = version, checkpoint or self._checkpoint

        self._change(change)

    def see(self, time: int) -> None:
        """Note what the clock says."""
        self._change(lambda connection: set_meta(connection, seen=time))
        self._seen = time

    def go_on_after(self, position: int) -> None:
        """Give ids above `position` alone, from the next batch on; call it before the first `append`."""
        self._last = max(self._last, position)

    def problem(self) -> str | None:
        """Tell why a batch would not be kept now."""
        if self._problem is None and not self._thread.is_alive():
            return f"the journal {self._path} has no thread any more that writes to it; start the server again"
        return self._problem

    def close(self) -> None:
        """Keep what waits and let go of the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(WAIT_SECONDS)

    def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        future = self._submit(_Waiting(Future(), change=change))
        try:
            future.result(WAIT_SECONDS)
        except TimeoutError:
            raise JournalError(f"the journal {self._path} did not answer in {WAIT_SECONDS:.0f} s") from None

    def _submit(self, waiting: _Waiting) -> Future[None]:
        with self._wake:
            if self._closing:
                raise JournalError(f"the journal {self._path} is being closed")
            if not self._thread.is_alive():
                raise JournalError(str(self.problem()))
            self._waiting.append(waiting)
            self.waiting_bytes += len(waiting.payload or b"")
            self._wake.notify()
        return waiting.future

    # The writer's thread, from here on.

    def _run(self) -> None:
        going = True
        while going:
            group: list[_Waiting] = []
            try:
                going = self._step(group)
            except BaseException as error:  # noqa: BLE001 -- whatever it is: they must be told, and the thread must go on
                self._problem = f"the journal {self._path} can't be written: {error or type(error).__name__}"
                log.error("%s", self._problem)  # noqa: TRY400 -- one line says it
            self._answer(group)
        self._checkpointer.close()
        with contextlib.suppress(sqlite3.Error):  # closing copies the write-ahead log; what is not copied stays there
            self._connection.close()

    def _step(self, group: list[_Waiting]) -> bool:
        """Wait for something to do, put it into `group` and on disk; tell whether there will be more."""
        with self._wake:
            if not self._waiting and not self._closing and (self._problem or not self._doomed):
                self._wake.wait(PROBE_SECONDS if self._problem else None)
            size = 0
            while self._waiting and size < GROUP_BYTES:
                group.append(self._waiting.popleft())
                size += len(group[-1].payload or b"")
            if not group and self._closing:
                return False
        if self._problem:
            self._repair()
        if self._problem is None and (group or self._doomed):
            self._commit(group)
        return True

    def _commit(self, group: list[_Waiting]) -> None:
        before = (self._released, self._doomed, self._version, self._checkpoint)
        try:
            entries = self._entries(group)
            self._write(group, entries)
            if entries:
                self._kept(entries)  # before they count: where this fails, they are removed again
        except BaseException:
            self._released, self._doomed, self._version, self._checkpoint = before
            raise
        if entries:
            self._last = entries[-1].id
            self._checkpointer.wrote(sum(len(entry.payload) for entry in entries))
            self.commits += 1
            self.group_size = len(entries)
            self.largest_group = max(self.largest_group, len(entries))

    def _answer(self, group: list[_Waiting]) -> None:
        """Tell all of a group that it is on disk, or that it isn't."""
        for waiting in group:
            try:
                if self._problem is None:
                    waiting.future.set_result(None)
                else:
                    waiting.future.set_exception(JournalError(self._problem))
            except InvalidStateError:  # whoever waited has gone
                pass
            except BaseException as error:  # noqa: BLE001 -- of one who was told; the others must be told as well
                log.error("telling of a batch failed: %r", error)  # noqa: TRY400 -- one line says it
        with self._wake:
            self.waiting_bytes -= sum(len(waiting.payload or b"") for waiting in group)

    def _entries(self, group: list[_Waiting]) -> list[Entry]:
        entries = []
        last, clock = self._last, time.time_ns() // 1000
        for waiting in group:
            if waiting.payload is not None:
                last = max(last + 1, clock if clock <= LAST_CLOCK_ID else 0)
                entries.append(Entry(last, waiting.payload))
        if last > LAST_ID:
            raise JournalError(f"the batch ids of {self._path} are used up; go on with another journal")
        return entries

    def _write(self, group: list[_Waiting], entries: list[Entry]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO batch VALUES (?, ?)", entries)
        for waiting in group:
            if waiting.change:
                waiting.change(self._connection)
        if self._doomed:
            self._delete_some()
        self._connection.execute("COMMIT")

    def _delete_some(self) -> None:
        deleted = self._connection.execute(
            "DELETE FROM batch WHERE id IN (SELECT id FROM batch WHERE id <= ? ORDER BY id LIMIT ?)",
            (self._released, DELETED_AT_ONCE),
        ).rowcount
        self._doomed = deleted == DELETED_AT_ONCE

    def _repair(self) -> None:
        """Open the file anew, remove what nobody was told is kept, and see that it can be written.

        The write-ahead log is copied and emptied first: after a failed fsync the system may hold for written what
        isn't, and what came behind it in the log would be lost with it.
        """
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        try:
            self._connection = connect(self._path)
            empty_log(self._connection)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM batch WHERE id > ?", (self._last,))
            set_meta(self._connection, last=self._last, probe=time.time_ns())
            self._connection.execute("COMMIT")
            empty_log(self._connection)
        except sqlite3.Error as error:
            self._problem = f"the journal {self._path} can't be written: {error}"
        else:
            self._problem = None
            log.warning("the journal %s can be written again", self._path)

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        sync_folder(self._path.parent)
        connection = connect(self._path)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        connection.execute("CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        meta = meta_of(connection)
        if not meta:
            set_meta(connection, format=FORMAT, journal=uuid.uuid4().hex, released=0)
            meta = meta_of(connection)
        check_format(self._path, meta)
        self._id = str(meta["journal"])
        self._released = int(meta["released"])
        self._version = meta.get("version")
        self._checkpoint = meta.get("checkpoint")
        self._seen = meta.get("seen")
        connection.execute("DELETE FROM batch WHERE id <= ?", (self._released,))
        connection.execute("COMMIT")
        empty_log(connection)
        self._at_start = [Entry(*row) for row in connection.execute("SELECT id, payload FROM batch ORDER BY id")]
        self._last = max(self._released, self._at_start[-1].id if self._at_start else 0)
        return connection
