"""The reader: finds the batches of all streams, whoever wrote them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from mockexport.heartrate.journal.contract import JournalError
from mockexport.heartrate.journal.postgres.schema import Meta, check_same
from mockexport.heartrate.journal.postgres.session import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.heartrate.journal.postgres.session import Database, Session
    from mockexport.heartrate.journal.postgres.streams import Streams

__all__ = ["Reader", "deliver_new", "read_released"]

PORTION = 100  # batches of each stream; a batch has some 50 kB

NEW_BATCHES = """
SELECT stream.slot, new.id, new.payload
FROM stream
LEFT JOIN unnest(%s::int[], %s::bigint[]) AS known (slot, id) USING (slot)
CROSS JOIN LATERAL (
    SELECT id, payload FROM batch
    WHERE batch.slot = stream.slot AND batch.id > greatest(known.id, stream.released)
    ORDER BY id LIMIT %s
) AS new
WHERE %s::int IS NULL OR stream.slot = %s
ORDER BY stream.slot, new.id
"""
RELEASED = """
SELECT slot, released, journal, term, version, checkpoint, seen FROM meta LEFT JOIN stream ON true
"""


def deliver_new(session: Session, streams: Streams, until: float, slot: int | None = None) -> None:
    """Deliver what is committed and was not delivered yet, of all streams or one. Raises JournalError."""
    going = True
    while going:
        left = until - time.monotonic()
        if left <= 0:
            raise JournalError("there is more in the journal than could be read in time; it goes on: try again")
        rows = session.run(NEW_BATCHES, (*streams.known(), PORTION, slot, slot), min(left, SECONDS))
        streams.deliver(rows)
        counts: dict[int, int] = {}
        for row in rows:
            counts[row[0]] = counts.get(row[0], 0) + 1
        going = PORTION in counts.values()


def read_released(session: Session, streams: Streams, seconds: float = SECONDS) -> Meta:
    """Read what is released, and the metadata."""
    rows = session.run(RELEASED, (), seconds)
    streams.release([row[:2] for row in rows if row[0] is not None])
    return Meta(*rows[0][2:])


class Reader:
    """Catches up, in the thread that asks; those who ask while another is at it wait, and share the next turn."""

    def __init__(self, database: Database, session: Session, streams: Streams, meta: Meta) -> None:
        self._database, self._streams = database, streams
        self._session: Session | None = session
        self.meta = meta
        self.problem: str | None = None
        self._turns = threading.Condition()
        self._begun = self._done = 0  # numbers of turns
        self._busy = self._closed = False

    def catch_up(self, seconds: float) -> Mapping[str, int]:
        """Deliver every batch that was committed before the call, and return what is released. Raises JournalError."""
        until = time.monotonic() + seconds
        with self._turns:
            wanted = self._begun + 1  # one that began earlier may miss what was committed since
            while self._done < wanted:
                if not self._busy:
                    break
                left = until - time.monotonic()
                if left <= 0 or not self._turns.wait(left):
                    raise JournalError(f"the journal {self._database.place} was not read in {seconds:.0f} s; try again")
            else:
                return self._streams.released
            if self._closed:
                raise JournalError(f"the journal {self._database.place} is closed")
            self._busy = True
            self._begun = turn = self._begun + 1
        done = False
        try:
            self._turn(until)
            done = True
        finally:
            with self._turns:
                self._busy = False
                self._done = turn if done else self._done
                self._turns.notify_all()
        return self._streams.released

    def close(self) -> None:
        """End the session."""
        with self._turns:
            self._closed = True
            session = self._session
        if session:
            session.cut()
        with self._turns:
            self._turns.wait_for(lambda: not self._busy, SECONDS)
            if self._session:
                self._session.close()

    def _turn(self, until: float) -> None:
        fresh = self._session is None
        try:
            self._read(until)
        except JournalError:
            if fresh or time.monotonic() > until:
                raise
            self._read(until)  # with a new session: the server may have been restarted, or another one promoted

    def _read(self, until: float) -> None:
        try:
            if self._session is None:
                self._session = self._database.connect("reader")
                check_same(self._session, self._database.place, self._streams.journal)
            deliver_new(self._session, self._streams, until)
            # Only now: what was dropped before it could be read is released already, and so in the table.
            self.meta = read_released(self._session, self._streams, max(until - time.monotonic(), 1.0))
        except BaseException as error:
            self.problem = str(error) or type(error).__name__
            if self._session:
                self._session.close()
            self._session = None
            raise
        self.problem = None
