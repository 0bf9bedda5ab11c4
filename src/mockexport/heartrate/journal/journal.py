"""The journal of one server: a write-ahead log of batches, which are on disk before they are acknowledged.

One thread writes. All batches that wait at a time are written in one transaction and share its fsync (group commit);
then their futures are done. After a failed write, no batch is accepted until the file has been repaired, which is tried
for every batch and every second.
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
from typing import TYPE_CHECKING

from mockexport.files import sync_folder
from mockexport.heartrate.journal.contract import CATCH_UP_SECONDS, LAST_ID, Entry, JournalError
from mockexport.heartrate.journal.sqlite import (
    FORMAT,
    Checkpointer,
    cannot_open,
    check_format,
    connect,
    empty_log,
    meta_of,
    set_meta,
)
from mockexport.shared import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mockexport.heartrate.journal.contract import OnCommit, Role

__all__ = ["SqliteJournal"]

GROUP_BYTES = 8 << 20  # bounds the size of a commit, and so the time that its batches wait
DELETED_AT_ONCE = 64  # rows; many are deleted in steps, so that batches don't wait for it
LAST_CLOCK_ID = 1 << 52  # the year 2112; a later clock is wrong, and is not used for ids
PROBE_SECONDS = 1.0
WAIT_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """Work for the next commit: a batch to store, or a change of the metadata."""

    future: Future[None]
    payload: bytes | None = None
    change: Callable[[sqlite3.Connection], None] | None = None


class SqliteJournal:
    """A journal in a SQLite file with a row for each batch; write-ahead log, `synchronous=FULL`.

    It has one stream, which has the journal's id for a name. `on_commit` is called with every group that is on disk,
    before its futures are done. Raises UsageError for a file of
    another format or that can't be written, and UntrustedDataError for one that is not a journal.
    """

    def __init__(self, path: Path, on_commit: OnCommit) -> None:
        self._path = path
        self._on_commit = on_commit
        self.documents = InMemory()
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._problem: str | None = None
        self._released = self._last = 0
        self._version: int | None = None
        self._checkpoint: int | None = None
        self._seen: int | None = None
        self._at_start: list[Entry] = []
        self._delivering = threading.Lock()
        self._deleting = False  # released rows are still in the file
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
        """The permanent random id of this journal."""
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
        """The time that the clock was last seen to have."""
        return self._seen

    @property
    def place(self) -> str:
        """The path of the file."""
        return str(self._path)

    @property
    def positions(self) -> Mapping[str, int]:
        """The id of the newest batch on disk."""
        return {self._id: self._last}

    @property
    def released(self) -> Mapping[str, int]:
        """The id of the newest batch that was released."""
        return {self._id: self._released}

    @property
    def role(self) -> Role:
        """No other node writes the table."""
        return "alone"

    @property
    def term(self) -> int:
        """There are no elections."""
        return 0

    @property
    def slot(self) -> None:
        """There is one stream."""
        return

    @property
    def last_error(self) -> str | None:
        """Why the file can't be written."""
        return self._problem

    def catch_up(self, seconds: float = CATCH_UP_SECONDS) -> Mapping[str, int]:  # noqa: ARG002 -- nothing is waited for
        """Deliver the batches that were found when the journal was opened, once; return what is released."""
        with self._delivering:
            if found := [entry for entry in self._at_start if entry.id > self._released]:
                self._on_commit(self._id, found)
            self._at_start = []
        return self.released

    def lead(self, above: int = 0) -> int:  # noqa: ARG002 -- there are no terms
        """Return 0: no other node writes the table."""
        return 0

    def resign(self, seconds: float) -> None:
        """Do nothing: there is no other node."""

    def append(self, payload: bytes) -> Future[None]:
        """Store a batch; the future is done when it is on disk, or fails with JournalError."""
        return self._submit(_Waiting(Future(), payload=payload))

    def release(self, positions: Mapping[str, int], version: int) -> None:
        """Release all batches up to the position of the one stream."""
        position = positions[self._id]

        def change(connection: sqlite3.Connection) -> None:
            set_meta(connection, released=position, version=version)
            self._released, self._version, self._deleting = position, version, True

        self._change(change)

    def note(self, version: int, checkpoint: int | None = None) -> None:
        """Record a version of the table, and a checkpoint of it."""

        def change(connection: sqlite3.Connection) -> None:
            set_meta(connection, version=version, checkpoint=checkpoint or self._checkpoint)
            self._version, self._checkpoint = version, checkpoint or self._checkpoint

        self._change(change)

    def see(self, time: int) -> None:
        """Record the time of the clock."""
        self._change(lambda connection: set_meta(connection, seen=time))
        self._seen = time

    def continue_after(self, position: int) -> None:
        """Use only ids above `position` from now on. Call it before the first `append`."""
        self._last = max(self._last, position)

    def problem(self) -> str | None:
        """Return why a batch would be refused now; None if it would be accepted."""
        if self._problem is None and not self._thread.is_alive():
            return f"the journal {self._path} lost its writer thread; restart the server"
        return self._problem

    def close(self) -> None:
        """Write the waiting batches and close the file."""
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

    # From here on, in the writer thread.

    def _run(self) -> None:
        going = True
        while going:
            group: list[_Waiting] = []
            try:
                going = self._step(group)
            except BaseException as error:  # noqa: BLE001 -- any error must fail the futures, and must not end the thread
                self._problem = f"the journal {self._path} can't be written: {error or type(error).__name__}"
                log.error("%s", self._problem)  # noqa: TRY400 -- one line is enough
            self._answer(group)
        self._checkpointer.close()
        with contextlib.suppress(sqlite3.Error):  # closing copies the write-ahead log; what is not copied stays in it
            self._connection.close()

    def _step(self, group: list[_Waiting]) -> bool:
        """Wait for work, put it into `group` and write it; return False once the journal is closed."""
        with self._wake:
            if not self._waiting and not self._closing and (self._problem or not self._deleting):
                self._wake.wait(PROBE_SECONDS if self._problem else None)
            size = 0
            while self._waiting and size < GROUP_BYTES:
                group.append(self._waiting.popleft())
                size += len(group[-1].payload or b"")
            if not group and self._closing:
                return False
        if self._problem:
            self._repair()
        if self._problem is None and (group or self._deleting):
            self._commit(group)
        return True

    def _commit(self, group: list[_Waiting]) -> None:
        before = (self._released, self._deleting, self._version, self._checkpoint)
        try:
            entries = self._entries(group)
            self._write(group, entries)
            if entries:
                self._on_commit(self._id, entries)  # before they count: if this fails, they are removed again
        except BaseException:
            self._released, self._deleting, self._version, self._checkpoint = before
            raise
        if entries:
            self._last = entries[-1].id
            self._checkpointer.wrote(sum(len(entry.payload) for entry in entries))
            self.commits += 1
            self.group_size = len(entries)
            self.largest_group = max(self.largest_group, len(entries))

    def _answer(self, group: list[_Waiting]) -> None:
        """Complete the futures of a group."""
        for waiting in group:
            try:
                if self._problem is None:
                    waiting.future.set_result(None)
                else:
                    waiting.future.set_exception(JournalError(self._problem))
            except InvalidStateError:  # nobody waits for it any more
                pass
            except BaseException as error:  # noqa: BLE001 -- a callback failed; the other futures must still be completed
                log.error("a callback of a batch failed: %r", error)  # noqa: TRY400 -- one line is enough
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
            raise JournalError(f"the batch ids of {self._path} are used up; use a new journal")
        return entries

    def _write(self, group: list[_Waiting], entries: list[Entry]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO batch VALUES (?, ?)", entries)
        for waiting in group:
            if waiting.change:
                waiting.change(self._connection)
        if self._deleting:
            self._delete_some()
        self._connection.execute("COMMIT")

    def _delete_some(self) -> None:
        deleted = self._connection.execute(
            "DELETE FROM batch WHERE id IN (SELECT id FROM batch WHERE id <= ? ORDER BY id LIMIT ?)",
            (self._released, DELETED_AT_ONCE),
        ).rowcount
        self._deleting = deleted == DELETED_AT_ONCE

    def _repair(self) -> None:
        """Reopen the file, remove batches that were not acknowledged, and check that it can be written.

        The write-ahead log is copied and emptied first: after a failed fsync the kernel may have marked pages clean
        that it did not write, and whatever follows these in the log would be lost, too.
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
