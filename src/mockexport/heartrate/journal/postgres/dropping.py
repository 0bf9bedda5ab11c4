"""How released batches are deleted: a partition of the ring at once, when all that it has is released.

Whether that is so is checked under a lock that keeps every writer and reader out, so the check holds until the
partition is empty, whatever a slow writer does. Who comes meanwhile waits behind the lock, so it is given up soon; the
partition is then emptied the next time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from mockexport.heartrate.journal.postgres.schema import PART_SECONDS, PARTS

if TYPE_CHECKING:
    from mockexport.heartrate.journal.postgres.session import Session

__all__ = ["drop_released"]

LOCK_TIMEOUT = "500ms"  # readers hold the lock all the time, each for a moment

NOT_CURRENT = """
SELECT part::int FROM generate_series(0, %s - 1) AS part
WHERE part <> extract(epoch FROM now())::bigint / %s %% %s
"""
STATE = sql.SQL("""
SELECT EXISTS (SELECT FROM {partition}),
    EXISTS (
        SELECT FROM {partition} AS batch LEFT JOIN stream USING (slot) WHERE batch.id > coalesce(stream.released, 0)
    )
""")
FULL_AND_RELEASED = (True, False)


def drop_released(session: Session) -> int:
    """Empty the partitions that are not written to now and whose batches are all released; return how many.

    Raises JournalError.
    """
    dropped = 0
    for (part,) in session.run(NOT_CURRENT, (PARTS, PART_SECONDS, PARTS)):
        partition = sql.Identifier(f"batch_{part}")
        if session.run(STATE.format(partition=partition)) == [FULL_AND_RELEASED]:
            dropped += _drop(session, partition)
    return dropped


def _drop(session: Session, partition: sql.Identifier) -> bool:
    with session.transaction() as cursor:
        try:
            cursor.execute("SET LOCAL synchronous_commit = local")  # a deletion that is lost will be made again
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            cursor.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(partition))
        except psycopg.errors.LockNotAvailable:
            raise psycopg.Rollback from None
        cursor.execute(STATE.format(partition=partition))
        if cursor.fetchone() != FULL_AND_RELEASED:
            return False
        cursor.execute(sql.SQL("TRUNCATE ONLY {}").format(partition))
        return True
    return False
