"""A connection to the database whose waits are all bounded, and which is closed by the first error.

A statement that takes too long is cancelled, and where that does not help, the connection is cut. Only so is a commit
bounded that waits for a standby: `statement_timeout` does not count that wait.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

from mockexport.errors import UnreachableError, UsageError
from mockexport.heartrate.journal.contract import JournalError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import TypeAlias

    from psycopg.sql import Composed

    from mockexport.heartrate.journal.postgres.address import Address

    Using: TypeAlias = threading.Lock | threading.RLock

__all__ = ["NEEDS_SESSION", "SECONDS", "Database", "Session", "taken"]

SECONDS = 15.0
"""How long a statement may take, with its commit."""
CUT_SECONDS = 3.0  # after a statement was cancelled
WATCH_SECONDS = 0.5
CANCEL_SECONDS = 2.0
TAKE_SECONDS = 1.0
CONNECTING = {
    "connect_timeout": "5",  # seconds, for each host
    "target_session_attrs": "read-write",  # finds the primary among several hosts
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",  # milliseconds
}
SETTINGS = {
    "search_path": "pg_catalog, mockexport_heartrate, pg_temp",
    "statement_timeout": "12s",
    "lock_timeout": "8s",
    "tcp_keepalives_idle": "10",  # the server's side: it soon notices that a machine is gone
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "default_transaction_isolation": "read committed",
    "jit": "off",
    "enable_bitmapscan": "off",  # a portion of a backlog is read in the order of the index, and no further
}
SET = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS given (name, value)"
NO_DATABASE = re.compile(r'database ".*" does not exist')
NEEDS_SESSION = "connect to the database itself, or by a pooler that gives each connection a session of its own"


log = logging.getLogger(__name__)


class Database:
    """Opens sessions, and ends those of their statements that take too long."""

    def __init__(self, address: Address, commit: str | None) -> None:
        self.place = address.place
        self.commit = commit
        wanted = address.parameters.get("target_session_attrs")
        self._parameters = CONNECTING | address.parameters
        if wanted != "primary":  # it must not be a standby, whatever the URL says
            self._parameters["target_session_attrs"] = CONNECTING["target_session_attrs"]
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heart-rate journal's watch", daemon=True)
        self._thread.start()

    def connect(self, name: str, **settings: str) -> Session:
        """Open a session; `name` is shown by the server. Raises JournalError."""
        if self.commit:
            settings["synchronous_commit"] = self.commit
        try:
            connection = psycopg.connect(
                **self._parameters | {"application_name": f"mockexport heart-rate {name}"},  # type: ignore[arg-type]
                autocommit=True,
            )
        except psycopg.Error as error:
            raise JournalError(f"the journal {self.place} can't be reached: {reason_of(error)}") from error
        session = Session(self, connection)
        with self._lock:
            self._sessions.add(session)
        session.set(SETTINGS | settings)
        return session

    def open(self, name: str) -> Session:
        """Open the first session. Raises UnreachableError, or UsageError for what the server refuses for good."""
        try:
            return self.connect(name)
        except JournalError as error:
            cause = error.__cause__
            if isinstance(cause, psycopg.OperationalError) and NO_DATABASE.search(str(cause)):
                raise UsageError(f"{error}; create it, or check the URL") from error
            if isinstance(cause, psycopg.OperationalError) and _is_final(cause):
                raise UsageError(f"{error}; check the URL, and the user and password that libpq finds") from error
            if "read-only" in str(error):
                raise UsageError(f"{error}; name the primary, or all servers among which it is") from error
            raise UnreachableError(f"{error}; check the URL, and that PostgreSQL runs there") from error

    def forget(self, session: Session) -> None:
        """Stop watching a session that is closed."""
        with self._lock:
            self._sessions.discard(session)

    def close(self) -> None:
        """Stop watching, and end the sessions that are left."""
        self._stop.set()
        self._thread.join(2 * CANCEL_SECONDS)
        for session in self._sessions.copy():
            session.close()

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            with self._lock:
                sessions = list(self._sessions)
            for session in sessions:
                try:
                    session.end_overdue()
                except Exception as error:  # noqa: BLE001 -- the other sessions are watched all the same
                    log.warning("a session of the journal could not be ended: %s", error)


class Session:
    """A connection in autocommit mode; for one thread at a time."""

    def __init__(self, database: Database, connection: psycopg.Connection[Any]) -> None:
        self._database, self._connection = database, connection
        self.pid = connection.info.backend_pid
        self.server = connection.info.server_version // 10_000
        self._deadline: float | None = None
        self._warning: str | None = None
        self._socket = socket.fromfd(connection.fileno(), -1, -1, -1)
        self._socket.setblocking(False)
        connection.add_notice_handler(self._noticed)

    def set(self, settings: dict[str, str]) -> None:
        """Change settings of the server for this session."""
        self.run(SET, (list(settings), list(settings.values())))

    def run(
        self, statement: LiteralString | Composed, values: Sequence[Any] = (), seconds: float = SECONDS
    ) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows. Raises JournalError, and closes the session then.

        A warning is an error, too: a commit whose wait for a standby was cancelled succeeds with a warning.
        """
        with self.bounded(seconds):
            cursor = self._connection.cursor(binary=True)
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description is not None else []

    @contextlib.contextmanager
    def transaction(self, seconds: float = SECONDS) -> Generator[psycopg.Cursor[Any]]:
        """Run a block in a transaction. Raises JournalError, and closes the session then."""
        with self.bounded(seconds), self._connection.transaction():
            yield self._connection.cursor(binary=True)

    @contextlib.contextmanager
    def bounded(self, seconds: float) -> Generator[None]:
        """Bound a block that uses the connection, and translate its errors."""
        self._deadline, self._warning = time.monotonic() + seconds, None
        try:
            yield
        except psycopg.Error as error:
            reason = self._warning or reason_of(error)
            self.close()
            raise JournalError(f"the journal {self._database.place} failed: {reason}") from error
        except BaseException:
            self.close()
            raise
        finally:
            self._deadline = None
        if self._warning:
            self.close()
            raise JournalError(f"the journal {self._database.place} did not confirm a commit: {self._warning}")

    def has_ended(self) -> bool:
        """Return whether the server has ended the session, as far as is known here without asking."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # its end, or what it told before it

    def end_overdue(self) -> None:
        """Cancel the statement if it takes too long, and cut the connection if that does not help."""
        deadline, now = self._deadline, time.monotonic()
        if deadline is None or now < deadline:
            return
        if now < deadline + CUT_SECONDS:
            with contextlib.suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=CANCEL_SECONDS)
        else:
            self.cut()

    def cut(self) -> None:
        """Cut the connection; a thread that waits for it gets an error. For any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the session."""
        self._database.forget(self)
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _noticed(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if (diagnostic.severity_nonlocalized or diagnostic.severity) == "WARNING":
            self._warning = diagnostic.message_primary or "a warning without a text"


@contextlib.contextmanager
def taken(using: Using, session: Session | None) -> Generator[None]:
    """Hold the lock of whoever uses a session, which is cut if they keep it for more than a moment."""
    if not using.acquire(timeout=TAKE_SECONDS):
        if session:
            session.cut()
        using.acquire()
    try:
        yield
    finally:
        using.release()


def reason_of(error: BaseException) -> str:
    """Return an error's message in one line."""
    return "; ".join(filter(None, map(str.strip, str(error).splitlines()))) or type(error).__name__


def _is_final(error: psycopg.OperationalError) -> bool:
    text = str(error)
    return any(part in text for part in ("authentication", "does not exist", "password", "no pg_hba.conf entry"))
