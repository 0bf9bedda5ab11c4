"""The tables of the journal in PostgreSQL, made by the first server that opens it.

The batches are in a ring of partitions by the time of their arrival, which are emptied whole: deleting row by row would
leave dead rows behind for a vacuum, which a journal would never finish.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from mockexport.errors import UsageError
from mockexport.heartrate.journal.contract import LAST_ID, JournalError

if TYPE_CHECKING:
    from mockexport.heartrate.journal.postgres.session import Session

__all__ = [
    "FORMAT",
    "LEADER_LOCK",
    "OLDEST_SERVER",
    "PARTS",
    "PART_SECONDS",
    "SEQUENCE_LOCK",
    "SLOT_LOCK",
    "Meta",
    "check_safety",
    "check_same",
    "prepare",
]

FORMAT = 1
OLDEST_SERVER = 14  # the first one with idle_session_timeout
PARTS = 4
PART_SECONDS = 10
"""Batches that arrive within this time share a partition."""

# The first of the two keys of the advisory locks; they are of the database, and any other numbers would do as well.
SCHEMA_LOCK, SLOT_LOCK, LEADER_LOCK, SEQUENCE_LOCK = range(1_836_213_099, 1_836_213_103)

TABLES = f"""
CREATE SCHEMA mockexport_heartrate;
CREATE TABLE mockexport_heartrate.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), -- the table has one row
    format int NOT NULL,
    journal text NOT NULL,
    term bigint NOT NULL DEFAULT 0,
    version bigint,
    checkpoint bigint,
    seen bigint
);
CREATE TABLE mockexport_heartrate.stream (slot int PRIMARY KEY, released bigint NOT NULL DEFAULT 0);
CREATE SEQUENCE mockexport_heartrate.batch_id MAXVALUE {LAST_ID};
CREATE TABLE mockexport_heartrate.batch (
    part smallint NOT NULL,
    slot int NOT NULL,
    id bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (slot, id, part)
) PARTITION BY LIST (part);
"""
# Payloads have a third of their size with lz4, and cost no more; the server's own compression would double the cost.
HAS_LZ4 = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
COMPRESSED = "ALTER TABLE mockexport_heartrate.batch ALTER payload SET COMPRESSION lz4"
NOT_COMPRESSED = "ALTER TABLE mockexport_heartrate.batch ALTER payload SET STORAGE EXTERNAL"
PARTITION = """
CREATE TABLE mockexport_heartrate.batch_{part} PARTITION OF mockexport_heartrate.batch FOR VALUES IN ({part})
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false); -- it has no dead rows, and would be in the way
"""


class Meta(NamedTuple):
    """What the database has about the journal besides its batches: see the properties of `Journal`."""

    id: str
    term: int
    version: int | None
    checkpoint: int | None
    seen: int | None


def prepare(session: Session, place: str) -> Meta:
    """Make the tables if there are none, and return the metadata.

    Raises UsageError for tables of another version, or if the user may not make or use them.
    """
    if session.server < OLDEST_SERVER:
        raise UsageError(
            f"the journal {place} is in PostgreSQL {session.server}; it needs {OLDEST_SERVER} or a newer version"
        )
    try:
        with session.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", (SCHEMA_LOCK,))
            cursor.execute("SELECT to_regclass('mockexport_heartrate.meta') IS NOT NULL")
            if cursor.fetchone() != (True,):
                cursor.execute(HAS_LZ4)
                storage = COMPRESSED if cursor.fetchone() == (True,) else NOT_COMPRESSED
                for statement in (TABLES, storage, *(PARTITION.format(part=part) for part in range(PARTS))):
                    cursor.connection.execute(statement.encode())
                cursor.execute("INSERT INTO meta (format, journal) VALUES (%s, %s)", (FORMAT, uuid.uuid4().hex))
            cursor.execute("SELECT format FROM meta")
            row = cursor.fetchone()
            found = row[0] if row else None
            if found != FORMAT:
                age = "a newer version of mockexport wrote it" if (found or 0) > FORMAT else "it is of an older version"
                raise UsageError(
                    f"the journal {place} has the format {found}, and this version reads {FORMAT}: {age}; "
                    "use that version, or another database"
                )
            cursor.execute("SELECT journal, term, version, checkpoint, seen FROM meta")
            row = cursor.fetchone()
            return Meta(*row or ())
    except JournalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "42501":
            raise UsageError(
                f"{error}; let the user of the URL make a schema: GRANT CREATE ON DATABASE ... TO ..."
            ) from error
        raise


def check_same(session: Session, place: str, journal: str) -> None:
    """Raise JournalError if the database has another journal, or another format, than at the start."""
    found = session.run("SELECT journal, format FROM meta")
    if found != [(journal, FORMAT)]:
        raise JournalError(f"the journal {place} is another one now; restart the server if that is right")


def check_safety(session: Session, place: str, commit: str | None) -> None:
    """Raise UsageError if acknowledged batches could be lost, unless `commit` requests that level."""
    names = ["synchronous_commit", "synchronous_standby_names", "fsync"]
    level, standbys, fsync = (
        row[0] for row in session.run("SELECT current_setting(name) FROM unnest(%s::text[]) AS name", [names])
    )
    if commit is None and (level == "off" or (level == "local" and standbys)):
        lost = "a crash of the server" if level == "off" else "the loss of the server, though it has a standby,"
        raise UsageError(
            f"the journal {place} has synchronous_commit = {level}: {lost} would lose acknowledged readings; "
            f"set it to on there, or request the level {level} for the journal's commits"
        )
    if fsync == "off" and commit != "off":
        raise UsageError(
            f"the journal {place} has fsync = off: a crash of its machine would lose acknowledged readings; "
            "set it to on there, or request the level off for the journal's commits"
        )
