"""Documents in the database of the journal, which all its servers share (`mockexport.shared`)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from mockexport.errors import UnreachableError
from mockexport.heartrate.journal.contract import JournalError
from mockexport.heartrate.journal.postgres.schema import DOCUMENT_LOCK, check_same
from mockexport.heartrate.journal.postgres.session import taken
from mockexport.shared import Document, NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockexport.heartrate.journal.postgres.session import Database, Session

__all__ = ["PostgresDocuments"]

SECONDS = 5.0  # for a statement, and for a thread until it has the session
SETTINGS = {
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "5s",  # so that a server that was stopped does not keep the lock of `add`
}

LOCK = "SELECT pg_advisory_xact_lock(%s, 0)"
DELETE_EXPIRED = "DELETE FROM document WHERE expires <= %s"
KNOWN = "SELECT count(*), min(expires), coalesce(bool_or(name = %b), false) FROM document WHERE kind = %s"
ADD = """
INSERT INTO document (kind, name, body, expires) VALUES (%s, %b, %b, %s)
ON CONFLICT DO NOTHING RETURNING 1 -- `put` takes no lock, and may just have stored one with this name
"""
PUT = """
INSERT INTO document (kind, name, body, expires) VALUES (%s, %b, %b, %s)
ON CONFLICT (kind, name) DO UPDATE SET
    body = excluded.body,
    expires = excluded.expires,
    number = CASE WHEN document.expires <= %s THEN excluded.number ELSE document.number END
"""
GET = "SELECT body, expires FROM document WHERE kind = %s AND name = %b AND expires > %s"
EXTEND = """
UPDATE document SET expires = greatest(expires, %s) WHERE kind = %s AND name = %b AND expires > %s
RETURNING body, expires
"""
NAMES = "SELECT name FROM document WHERE kind = %s AND expires > %s ORDER BY number"
DELETE = "DELETE FROM document WHERE kind = %s AND name = %b AND expires > %s RETURNING 1"


class PostgresDocuments:
    """Documents in a table of the journal's database. They expire by the clocks of the servers.

    All threads share one session, which is opened when it is first needed, and anew after an error.
    """

    def __init__(self, database: Database, journal: str, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._database, self._journal = database, journal
        self._session: Session | None = None
        self._using = threading.Lock()
        self._closed = False
        self._failed = 0.0  # when the database could last not be reached
        self._problem = ""

    def add(self, kind: str, name: str, body: bytes, expires: float, *, most: int) -> bool:
        """Store a document unless there is one with this name; return whether it was stored.

        Raises NoRoomError and UnreachableError.
        """
        now = self.clock()
        with self._lent() as session, session.transaction(SECONDS) as cursor:
            # One server adds at a time. Each statement sees what was committed before it began, so those behind the
            # lock see all that was added before. A single statement would have looked before it waited for the lock.
            cursor.execute(LOCK, (DOCUMENT_LOCK,))
            cursor.execute(DELETE_EXPIRED, (now,))
            cursor.execute(KNOWN, (_bytes(name), kind))
            [(count, first, there)] = cursor.fetchall()
            added = False
            if not there and count < most:
                cursor.execute(ADD, (kind, _bytes(name), body, expires))
                added = bool(cursor.fetchall())
        if not there and count >= most:
            raise NoRoomError(now if first is None else first)
        return added

    def put(self, kind: str, name: str, body: bytes, expires: float) -> None:
        """Store a document, in place of any with this name. Raises UnreachableError."""
        with self._lent() as session:
            session.run(PUT, (kind, _bytes(name), body, expires, self.clock()), SECONDS)

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document, None if there is none. Raises UnreachableError."""
        with self._lent() as session:
            return _document(session.run(GET, (kind, _bytes(name), self.clock()), SECONDS))

    def extend(self, kind: str, name: str, expires: float) -> Document | None:
        """Return a document, which now expires no earlier than `expires`; None if there is none.

        Raises UnreachableError.
        """
        with self._lent() as session:
            return _document(session.run(EXTEND, (expires, kind, _bytes(name), self.clock()), SECONDS))

    def names(self, kind: str) -> list[str]:
        """Return the names of a kind's documents, in the order in which they were stored. Raises UnreachableError."""
        with self._lent() as session:
            rows = session.run(NAMES, (kind, self.clock()), SECONDS)
        return [name.decode("utf-8", "surrogatepass") for (name,) in rows]

    def delete(self, kind: str, name: str) -> bool:
        """Delete a document; return whether there was one. Raises UnreachableError."""
        with self._lent() as session:
            return bool(session.run(DELETE, (kind, _bytes(name), self.clock()), SECONDS))

    def close(self) -> None:
        """End the session."""
        self._closed = True
        with taken(self._using, self._session):
            self._end()

    @contextlib.contextmanager
    def _lent(self) -> Generator[Session]:
        """Lend the session to a thread, one at a time. Raises UnreachableError."""
        asked = time.monotonic()
        if not self._using.acquire(timeout=SECONDS):
            raise UnreachableError(f"the journal {self._database.place} did not answer in {SECONDS:.0f} s; try again")
        try:
            yield self._opened(asked)
        except JournalError as error:
            self._end()
            raise UnreachableError(str(error)) from error
        except BaseException:
            self._end()
            raise
        finally:
            self._using.release()

    def _opened(self, asked: float) -> Session:
        """Return the session, for a thread that has waited since `asked`. Raises JournalError."""
        if self._closed:
            raise JournalError(f"the journal {self._database.place} is closed")
        if self._session and self._session.has_ended():
            self._end()
        if self._session is None:
            if asked < self._failed:  # while this thread waited: it would wait as long once more
                raise JournalError(self._problem)
            try:
                self._session = self._database.connect("documents", **SETTINGS)
                check_same(self._session, self._database.place, self._journal)
            except JournalError as error:
                self._failed, self._problem = time.monotonic(), str(error)
                raise
        return self._session

    def _end(self) -> None:
        if self._session:
            self._session.close()
        self._session = None


def _bytes(name: str) -> bytes:
    """Return a name as it is stored: text of PostgreSQL can't have all characters, and a client may send any."""
    return name.encode("utf-8", "surrogatepass")


def _document(rows: list[tuple[bytes, float]]) -> Document | None:
    return Document(*rows[0]) if rows else None
