"""The leader: of all servers of a journal, the one that may write the table.

It holds an advisory lock, which ends with its session. The server ends the session when it was idle for too long, so a
leader that was stopped (or whose machine is gone) loses the lock. Each election raises the term.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, LiteralString

from mockexport.heartrate.journal.contract import JournalError
from mockexport.heartrate.journal.postgres.dropping import drop_released
from mockexport.heartrate.journal.postgres.schema import LEADER_LOCK, check_safety, check_same
from mockexport.heartrate.journal.postgres.session import NEEDS_SESSION, taken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport.heartrate.journal.postgres.session import Database, Session

__all__ = ["Leader"]

IDLE_SECONDS = 30  # then the server ends the session
KEEP_ALIVE_SECONDS = 5.0
TRY_SECONDS = 1.0  # how often the lock is tried, and how long to wait after an error

TAKE_LOCK = "SELECT pg_try_advisory_lock(%s, 0)"
RAISE_TERM = "UPDATE meta SET term = greatest(term, %s) + 1 WHERE pg_backend_pid() = %s RETURNING term"
STILL = "SELECT 1 WHERE pg_backend_pid() = %s"
RELEASE = """
INSERT INTO stream (slot, released) SELECT * FROM unnest(%s::int[], %s::bigint[])
ON CONFLICT (slot) DO UPDATE SET released = greatest(stream.released, excluded.released)
"""
SET_META = """
UPDATE meta SET version = coalesce(%s, version), checkpoint = coalesce(%s, checkpoint), seen = coalesce(%s, seen)
"""

log = logging.getLogger(__name__)


class Leader:
    """The session of the lock, and what only its holder may do. Thread-safe."""

    def __init__(self, database: Database, journal: str) -> None:
        self._database, self._journal = database, journal
        self._session: Session | None = None
        self._using = threading.RLock()
        self._holds = False
        self._asked = self._tried = 0.0
        self.term = 0
        self.problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="heart-rate journal's leader", daemon=True)
        self._thread.start()

    @property
    def holds(self) -> bool:
        """Whether this server was the leader when that was last asked."""
        return self._holds

    def lead(self, above: int = 0) -> int | None:
        """Return the term if this server is the leader, or has just become it; else None. Raises JournalError.

        A term that is not above `above` is raised.
        """
        with self._using:
            if self._stop.is_set():
                return None
            now = time.monotonic()
            if self._holds and self.term > above and now < self._asked + KEEP_ALIVE_SECONDS:
                return self.term
            if not self._holds and now < self._tried + TRY_SECONDS:
                if self.problem:
                    raise JournalError(self.problem)
                return None
            self._tried = now
            self._ask(above)
            return self.term if self._holds else None

    def resign(self, seconds: float) -> None:
        """Give the lock up, and do not try to take it for `seconds`."""
        with self._using:
            if self._session and self._holds:
                self._session.close()
                self._session, self._holds = None, False
                self._tried = time.monotonic() + seconds - TRY_SECONDS

    def change(self, statement: LiteralString, values: Sequence[Any], slots: Mapping[int, int] | None = None) -> None:
        """Run a statement as the leader, and release `slots` in the same transaction. Raises JournalError."""
        with self._using:
            session = self._session
            if session is None or not self._holds:
                raise JournalError(f"this server is not the leader of the journal {self._database.place} any more")
            try:
                with session.transaction() as cursor:
                    cursor.execute(statement, values)
                    if slots:
                        cursor.execute(RELEASE, (list(slots), list(slots.values())))
            except BaseException as error:
                self._lose(error)
                raise
            self._asked = time.monotonic()

    def set_meta(
        self,
        version: int | None = None,
        checkpoint: int | None = None,
        seen: int | None = None,
        slots: Mapping[int, int] | None = None,
    ) -> None:
        """Record metadata, and what is released by slot, as the leader. Raises JournalError."""
        self.change(SET_META, (version, checkpoint, seen), slots)

    def drop(self) -> None:
        """Delete what is released, as far as that is possible now. What can't be, is tried again the next time."""
        with self._using:
            if self._session and self._holds:
                try:
                    drop_released(self._session)
                except JournalError as error:
                    self._lose(error)
                    log.warning("released batches stay in the journal: %s", error)

    def close(self) -> None:
        """End the session, and with it the lock."""
        self._stop.set()
        with taken(self._using, self._session):
            self._holds = False
            if self._session:
                self._session.close()
            self._session = None
        self._thread.join(KEEP_ALIVE_SECONDS)

    def _ask(self, above: int = 0) -> None:
        """Find out whether this server leads: keep the session alive, or open it and try the lock."""
        try:
            if self._session is None:
                self._session = self._database.connect("leader", idle_session_timeout=f"{IDLE_SECONDS}s")
                check_same(self._session, self._database.place, self._journal)
                check_safety(self._session, self._database.place, self._database.commit)
            self._hold(self._session, above)
        except BaseException as error:
            self._lose(error)
            raise
        self.problem = None
        self._asked = time.monotonic()

    def _hold(self, session: Session, above: int) -> None:
        """Check that the session still holds the lock, or try to take it; then begin a term if it needs another."""
        if not self._holds and session.run(TAKE_LOCK, (LEADER_LOCK,)) != [(True,)]:
            return
        begins = not self._holds or self.term <= above
        known = max(self.term, above)
        rows = session.run(RAISE_TERM, (known, session.pid)) if begins else session.run(STILL, (session.pid,))
        if not rows:
            raise JournalError(f"the journal {self._database.place} is behind a pooler; {NEEDS_SESSION}")
        if begins:
            self.term, self._holds = rows[0][0], True
            log.info("this server leads, in term %d", self.term)

    def _lose(self, error: BaseException) -> None:
        if self._session:
            self._session.close()
        if self._holds:
            log.warning("this server does not lead any more: %s", error)
        self._session, self._holds = None, False
        self._tried = time.monotonic()
        self.problem = str(error) or type(error).__name__

    def _keep_alive(self) -> None:
        """Ask before the server finds the session idle, also while the leader is busy with the table."""
        while not self._stop.wait(KEEP_ALIVE_SECONDS):
            with self._using:
                if self._session and not self._stop.is_set():
                    try:
                        self._ask()
                    except Exception as error:  # noqa: BLE001 -- the session is ended; `lead` tells it
                        log.debug("the leader's session ended: %s", error)
