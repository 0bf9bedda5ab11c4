"""The journal in PostgreSQL, which several servers share: each writes a stream of its own, and reads all of them.

- `journal`: PostgresJournal, which puts the parts together.
- `writer`: the session that stores batches, in one transaction for all that wait.
- `reader`: the session that reads the batches of all streams.
- `leader`: the session that holds the lock of the one server that writes the table; `dropping`: how it deletes batches.
- `documents`: what servers share besides the readings.
- `streams`: what this server knows of each stream.
- `schema`: the tables.
- `session`: a connection whose waits are all bounded; `address`: its URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mockexport.extras import needs_extra

if TYPE_CHECKING:
    from mockexport.heartrate.journal.contract import OnCommit
    from mockexport.heartrate.journal.postgres.journal import PostgresJournal

__all__ = ["COMMIT_LEVELS", "CommitLevel", "is_postgres_url", "open_postgres_journal"]

CommitLevel = Literal["off", "local", "remote_write", "on", "remote_apply"]
"""The values of PostgreSQL's `synchronous_commit`: how safe a batch is when it is acknowledged."""
COMMIT_LEVELS: tuple[CommitLevel, ...] = ("off", "local", "remote_write", "on", "remote_apply")


def is_postgres_url(journal: object) -> bool:
    """Return whether a journal is named by the URL of a database, and not by a folder."""
    return str(journal).startswith(("postgresql:", "postgres:"))


def open_postgres_journal(url: str, on_commit: OnCommit, *, commit: CommitLevel | None = None) -> PostgresJournal:
    """Open the journal in the database of `url`, and make it if there is none.

    `commit` requests a level of `synchronous_commit`; without it, that of the database counts, and one that may lose
    acknowledged batches is refused. Raises UsageError for a URL that is not valid or has a password, for a database
    that is not suitable, and without the extra `[postgres]`; UnreachableError if the database can't be reached.
    """
    with needs_extra("postgres"):
        from mockexport.heartrate.journal.postgres.journal import PostgresJournal
    return PostgresJournal(url, on_commit, commit=commit)
