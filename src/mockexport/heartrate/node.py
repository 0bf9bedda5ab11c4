"""A server's place among those that share a table: who writes it, and how each sees all readings.

Several servers (nodes) may share a journal in PostgreSQL, and with it a table. One of them leads: it alone writes the
table. The others follow it. With a journal of its own a server is the only node, and always leads, in term 0.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mockexport.errors import UnreachableError
from mockexport.heartrate.journal import lacks
from mockexport.heartrate.table import SEQUENCES_A_BATCH, DeltaStore

if TYPE_CHECKING:
    import polars as pl

    from mockexport.heartrate.journal import Journal
    from mockexport.heartrate.locations import Locations
    from mockexport.heartrate.table import FileFormat, Pending, Snapshot

__all__ = ["Node"]

FIRST_TABLE_SECONDS = 60.0  # for the leader to make the table
FIRST_READ_SECONDS = 600.0  # for what is in the journal at the start: a server that gave up would begin anew
PAUSE_SECONDS = 0.2
REFRESH_SECONDS = 1.0  # so a follower keeps little that the table has, and no files that will be deleted


class Node:
    """The table as this server sees it. Thread-safe.

    Opening it makes the table if this node leads, and waits for the leader to make it otherwise. `pending` gets the
    batches that only the journal has; `files` is how the table's files are written. Raises what `DeltaStore` and
    `Locations.check_table` raise, and JournalError.
    """

    def __init__(
        self, locations: Locations, journal: Journal, pending: Pending, files: FileFormat | None = None
    ) -> None:
        self._locations, self._journal, self._pending, self._files = locations, journal, pending, files
        self._leading = threading.Lock()
        self._refreshed = time.monotonic()
        self.store = self._open()
        self._drop()

    def _open(self) -> DeltaStore:
        self._journal.catch_up(FIRST_READ_SECONDS)
        deadline = time.monotonic() + FIRST_TABLE_SECONDS
        while True:
            term = self._journal.lead()
            if term is not None:
                return self._take_over(term)
            self._journal.catch_up()
            try:
                store = DeltaStore(self._locations.table, read_only=True)
            except UnreachableError as error:
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{error}; see the log of the server that leads") from error
                time.sleep(PAUSE_SECONDS)
                continue
            self._check(store)
            return store

    def _take_over(self, term: int) -> DeltaStore:
        """Open the table to write it, and bring journal and table to agree. Nobody else writes it from then on."""
        journal = self._journal
        journal.catch_up()  # so all streams are known
        store = DeltaStore(
            self._locations.table,
            durable=journal.version,
            checkpoint=journal.checkpoint,
            journal=journal.id,
            term=term,
            files=self._files,
        )
        self._check(store)
        if term and store.begun >= term:  # the database is a backup or a standby, which lacks the last terms
            store.term = journal.lead(above=store.begun)
        store.begin_term()
        has, version = store.positions(journal.positions), store.sync_log()
        if lacks(journal.released, has):
            journal.release(has, version)
        else:
            journal.note(version)
        self._locations.name(store, journal)
        return store

    def _check(self, store: DeltaStore) -> None:
        """Check that journal and table belong together, and that new readings come after those in the table."""
        journal = self._journal
        self._locations.check_table(store, journal.id, journal.released)
        has = store.positions(journal.positions).values()
        journal.continue_after(max(store.snapshot().sequence // SEQUENCES_A_BATCH, *has, 0))

    def lead(self) -> bool:
        """Return whether this node may write the table now. If it has just been elected, it takes the table over.

        Raises JournalError if that can't be asked, and what opening it raises.
        """
        with self._leading:
            term = self._journal.lead()
            if term is not None and term != self.store.term:
                self.store = self._take_over(term)
                self._drop()
            return term is not None

    def catch_up(self) -> None:
        """Read what other servers have put into the journal. Raises JournalError."""
        self._journal.catch_up()

    def follow(self) -> None:
        """If this node does not lead, load the table now and then."""
        if self.is_following() and time.monotonic() - self._refreshed >= REFRESH_SECONDS:
            self.refresh()

    def is_following(self) -> bool:
        """Return whether another node may write the table."""
        return self._journal.role == "follower"

    def refresh(self) -> None:
        """Load the newest version of the table, and drop the pending readings that it has."""
        self._refreshed = time.monotonic()
        self.store.refresh()
        self._drop()

    def _drop(self) -> None:
        """Drop the pending readings that the table has; only now, or a query would find them in neither."""
        self._pending.drop(self.store.positions(self._journal.positions))

    def view(self) -> tuple[list[pl.DataFrame], Snapshot]:
        """Return the pending readings, then the table; together they have all readings acknowledged before the call.

        Readings are in the table before they leave the pending ones, and before the journal releases them. So a table
        that has all that was released when the journal was read, and was loaded later, completes what was read.
        """
        released = self._journal.catch_up()
        if self._journal.role != "alone" and lacks(self.store.positions(released), released):
            self.refresh()
            if lacks(self.store.positions(released), released):
                raise UnreachableError(f"the table {self._locations.table} is older than its journal")
        return self._pending.frames(), self.store.snapshot()
