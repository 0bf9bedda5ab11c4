"""The writer: stores batches in a stream of its own, all that wait in one statement.

A session takes a free slot by an advisory lock, which it holds until it ends, so the stream of a slot has one writer at
a time. After any error the session is ended, and the next one may take another slot. Where the result of a commit is
not known, the batches are refused, and delivered by the reader if they are there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, NamedTuple

from mockexport.heartrate.journal.contract import JournalError
from mockexport.heartrate.journal.postgres.reader import deliver_new
from mockexport.heartrate.journal.postgres.schema import (
    PART_SECONDS,
    PARTS,
    SEQUENCE_LOCK,
    SLOT_LOCK,
    check_safety,
    check_same,
)
from mockexport.heartrate.journal.postgres.session import NEEDS_SESSION, SECONDS

if TYPE_CHECKING:
    from mockexport.heartrate.journal.postgres.session import Database, Session
    from mockexport.heartrate.journal.postgres.streams import Streams

__all__ = ["Writer"]

GROUP_BYTES = 8 << 20  # bounds the time of a commit, and so the time that its batches wait
PROBE_SECONDS = 5.0  # an idle session is probed, so that what would fail a batch is found before there is one
RETRY_SECONDS = 1.0
SLOTS = 1000
CLEAR_IDS = 1_000_000
"""Ids that each session leaves out: a promoted standby may lack the newest batches, which other servers have seen."""

TAKE_SLOT = "SELECT slot FROM generate_series(0, %s) AS slot WHERE pg_try_advisory_lock(%s, slot) LIMIT 1"
NAME_SLOT = "INSERT INTO stream (slot) VALUES (%s) ON CONFLICT DO NOTHING"
RAISE_IDS = """
SELECT setval('batch_id', greatest(
    nextval('batch_id'),
    %s,
    (SELECT max(released) FROM stream),
    (SELECT max(newest.id) FROM stream, LATERAL (
        SELECT id FROM batch WHERE batch.slot = stream.slot ORDER BY id DESC LIMIT 1
    ) AS newest)
) + %s)
"""
# One statement is one round trip and one commit. With %b the payloads are sent as they are; as text they cost ten times
# as much. The time is that of the transaction, so the group is in one partition.
STORE = """
INSERT INTO batch (part, slot, id, payload)
SELECT extract(epoch FROM now())::bigint / %s %% %s, %s, nextval('batch_id'), payload
FROM (
    SELECT payload FROM unnest(%b::bytea[]) WITH ORDINALITY AS given (payload, number) ORDER BY number
) AS given
WHERE pg_backend_pid() = %s -- otherwise another session, which does not hold the slot's lock
RETURNING id
"""
# A lock on a row is in the database's log, so its commit waits for the standbys, as that of a batch does; nothing is
# changed. So a primary that has lost them is noticed, and one in whose place another one was promoted.
PROBE = "SELECT FROM stream WHERE slot = %s FOR KEY SHARE"

log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    payload: bytes
    future: Future[None]


class Writer:
    """Stores batches in a thread of its own. Thread-safe."""

    def __init__(self, database: Database, streams: Streams) -> None:
        self._database, self._streams = database, streams
        self._session: Session | None = None
        self._above = self._raised = 0  # ids are to be above the first, and are above the second
        self._last = 0  # the newest id, or one below the next
        self._waiting: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._problem: str | None = None
        self._retry = 0.0  # when to connect again
        self.slot: int | None = None
        self.commits = self.group_size = self.largest_group = self.waiting_bytes = 0
        self._thread = threading.Thread(target=self._run, name="heart-rate journal", daemon=True)
        self._thread.start()

    def append(self, payload: bytes) -> Future[None]:
        """Store a batch; the future is done when it is on disk and delivered. Raises JournalError."""
        waiting = _Waiting(payload, Future())
        with self._wake:
            if self._closing:
                raise JournalError(f"the journal {self._database.place} is being closed")
            if not self._thread.is_alive():
                raise JournalError(str(self.problem()))
            self._waiting.append(waiting)
            self.waiting_bytes += len(payload)
            self._wake.notify()
        return waiting.future

    def continue_after(self, position: int) -> None:
        """Use only ids above `position` from now on, also in later sessions."""
        self._above = max(self._above, position)

    def problem(self) -> str | None:
        """Return why a batch would be refused now; None if it would be accepted."""
        if self._problem is None and not self._thread.is_alive():
            return f"the journal {self._database.place} lost its writer thread; restart the server"
        return self._problem

    def close(self) -> None:
        """Write the waiting batches, and end the thread and its session."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(2 * SECONDS)

    # From here on, in the writer thread.

    def _run(self) -> None:
        group: list[_Waiting] | None = []
        while group is not None:
            error: JournalError | None = None
            try:
                self._store(group)
                self._problem = None
            except BaseException as failure:  # noqa: BLE001 -- any error must fail the futures, and must not end the thread
                error = self._refusal(failure)
            self._answer(group, error)
            group = self._next_group()
        self._end_session()

    def _next_group(self) -> list[_Waiting] | None:
        """Wait for batches, or until the session is to be probed (no batches); return None once all is closed."""
        with self._wake:
            if not self._waiting and not self._closing:
                self._wake.wait(RETRY_SECONDS if self._problem else PROBE_SECONDS)
            if not self._waiting and self._closing:
                return None
            group: list[_Waiting] = []
            size = 0
            while self._waiting and size < GROUP_BYTES:
                group.append(self._waiting.popleft())
                size += len(group[-1].payload)
            return group

    def _store(self, group: list[_Waiting]) -> None:
        """Commit a group and deliver it; without batches, check that one could be."""
        session = self._ready()
        if not group:
            session.run(PROBE, (self.slot,))
            return
        payloads = [waiting.payload for waiting in group]
        rows = session.run(STORE, (PART_SECONDS, PARTS, self.slot, payloads, session.pid))
        if len(rows) != len(group):
            raise JournalError(f"the journal {self._database.place} is behind a pooler; {NEEDS_SESSION}")
        if rows[0][0] <= self._last:
            raise JournalError(f"the ids went back in the journal {self._database.place}; was an old copy restored?")
        self._last = rows[-1][0]
        slot = self.slot or 0
        self._streams.deliver((slot, id_, payload) for (id_,), payload in zip(rows, payloads, strict=True))
        self.commits += 1
        self.group_size = len(group)
        self.largest_group = max(self.largest_group, len(group))

    def _ready(self) -> Session:
        """Return a session that holds a slot, whose ids are above all that are known."""
        if self._session and self._session.has_ended():  # for certain before anything was sent
            self._end_session()
        if self._session is None:
            if self._problem and time.monotonic() < self._retry:
                raise JournalError(self._problem)
            self._session = session = self._database.connect("writer")
            check_same(session, self._database.place, self._streams.journal)
            check_safety(session, self._database.place, self._database.commit)
            rows = session.run(TAKE_SLOT, (SLOTS - 1, SLOT_LOCK))
            if not rows:
                raise JournalError(f"the journal {self._database.place} has {SLOTS} writers already; stop some")
            slot = rows[0][0]
            session.run(NAME_SLOT, (slot,))
            self._raised = -1
            deliver_new(session, self._streams, time.monotonic() + 2 * SECONDS, slot)  # of its earlier writers
            self.slot = slot
        if self._above > self._raised:
            above = max(self._above, self._streams.newest)
            with self._session.transaction() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", (SEQUENCE_LOCK,))
                cursor.execute(RAISE_IDS, (above, CLEAR_IDS))
                [(self._last,)] = cursor.fetchall()
            self._raised = above
        return self._session

    def _refusal(self, failure: BaseException) -> JournalError:
        """End the session, and return the error for the batches of its group."""
        now = time.monotonic()
        if self.slot is None and now >= self._retry:  # otherwise nothing was tried, and the next try must come
            self._retry = now + RETRY_SECONDS
        self._end_session()
        problem = str(failure) or type(failure).__name__
        if not isinstance(failure, JournalError):
            problem = f"the journal {self._database.place} can't be written: {problem}"
        if problem != self._problem:
            log.error("%s", problem)
        self._problem = problem
        return JournalError(problem)

    def _end_session(self) -> None:
        if self._session:
            self._session.close()
        self._session = self.slot = None

    def _answer(self, group: list[_Waiting], error: JournalError | None) -> None:
        """Complete the futures of a group."""
        for waiting in group:
            try:
                if error is None:
                    waiting.future.set_result(None)
                else:
                    waiting.future.set_exception(error)
            except InvalidStateError:  # nobody waits for it any more
                pass
            except BaseException as failure:  # noqa: BLE001 -- a callback failed; the other futures must still be completed
                log.error("a callback of a batch failed: %r", failure)  # noqa: TRY400 -- one line is enough
        with self._wake:
            self.waiting_bytes -= sum(len(waiting.payload) for waiting in group)
