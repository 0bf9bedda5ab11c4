"""The SQLite file of the journal: how it is opened, its metadata, and how its write-ahead log is kept short."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mockexport.errors import MockExportError, UntrustedDataError, UsageError
from mockexport.heartrate.journal.contract import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "FORMAT",
    "Checkpointer",
    "JournalContents",
    "cannot_open",
    "check_format",
    "connect",
    "empty_log",
    "meta_of",
    "read_id",
    "read_journal",
    "set_meta",
]

FORMAT = 1
PAGE_SIZE = 16384
CHECKPOINT_BYTES = 8 << 20
LARGEST_LOG_PAGES = 4096  # 64 MiB; then the writer checkpoints it itself
WAIT_SECONDS = 60.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class JournalContents(NamedTuple):
    """The contents of a journal: its id, the last released batch, and the batches since, by id."""

    id: str
    released: int
    entries: list[Entry]


def read_journal(path: Path) -> JournalContents | None:
    """Return the contents of a journal without changing it; None if there is none.

    Another process may be writing to it. Raises UsageError if it can't be read, UntrustedDataError if it is damaged.
    """

    def read(connection: sqlite3.Connection, meta: dict[str, Any]) -> JournalContents:
        found = connection.execute("SELECT id, payload FROM batch WHERE id > ? ORDER BY id", (meta["released"],))
        return JournalContents(str(meta["journal"]), int(meta["released"]), [Entry(*row) for row in found])

    return _read(path, read)


def read_id(path: Path) -> str | None:
    """Return the id of a journal, None if there is none. Raises what `read_journal` raises."""
    return _read(path, lambda _, meta: str(meta["journal"]))


def _read(path: Path, read: Callable[[sqlite3.Connection, dict[str, Any]], T]) -> T | None:
    try:
        path.stat()
        if not _has_log(path):  # closed cleanly; without "immutable" SQLite would create a log to read it
            found = _read_how(path, "immutable=1", read)
            if not _has_log(path):
                return found
        return _read_how(path, "mode=ro", read)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot open the journal {path}: {error.strerror}; check its permissions") from error
    except sqlite3.DatabaseError as error:
        raise cannot_open(path, error) from error


def _has_log(path: Path) -> bool:
    return path.with_name(path.name + "-wal").exists()


def _read_how(path: Path, how: str, read: Callable[[sqlite3.Connection, dict[str, Any]], T]) -> T | None:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
            return None  # its creation was interrupted
        meta = meta_of(connection)
        check_format(path, meta)
        return read(connection, meta)


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal for writing; every commit is on disk when it returns."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = OFF")  # or released rows are overwritten with zeros
        connection.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_LOG_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy the write-ahead log into the file and truncate it. Raises sqlite3.Error."""
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise sqlite3.OperationalError("another program is reading it")


def meta_of(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the metadata of a journal."""
    return dict(connection.execute("SELECT name, value FROM meta"))


def set_meta(connection: sqlite3.Connection, **values: str | int | None) -> None:
    """Set metadata, in the open transaction."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))


def check_format(path: Path, meta: dict[str, Any]) -> None:
    """Raise UsageError for a journal of another format."""
    if meta.get("format") != FORMAT:
        raise UsageError(f"the journal {path} has the format {meta.get('format')}, and this version reads {FORMAT}")


def cannot_open(path: Path, error: sqlite3.Error) -> MockExportError:
    """Build the error for a journal that can't be opened."""
    if isinstance(error, sqlite3.OperationalError):
        return UsageError(f"cannot open the journal {path}: {error}; check that it can be read and written")
    return UntrustedDataError(f"{path} is not a journal, or is damaged: {error}")


class Checkpointer:
    """Copies the write-ahead log into the file in a thread of its own, so that batches don't wait for it.

    The log is then overwritten from its start, which also makes its fsyncs cheap.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._wake = threading.Event()
        self._closing = False
        self._written = 0
        self._thread = threading.Thread(target=self._run, name="heart-rate journal checkpoints", daemon=True)
        self._thread.start()

    def wrote(self, size: int) -> None:
        """Count committed bytes; start a copy when there are enough."""
        self._written += size
        if self._written >= CHECKPOINT_BYTES:
            self._written = 0
            self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(WAIT_SECONDS)

    def _run(self) -> None:
        while self._wake.wait() and not self._closing:
            self._wake.clear()
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except Exception as error:  # noqa: BLE001 -- nothing is lost: the writer gets the error too, or copies the log itself
                log.warning("the journal's write-ahead log can't be copied: %s", error)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
