"""The journal in PostgreSQL: one for all servers of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.heartrate.journal.contract import CATCH_UP_SECONDS
from mockexport.heartrate.journal.postgres.address import address_of
from mockexport.heartrate.journal.postgres.documents import PostgresDocuments
from mockexport.heartrate.journal.postgres.leader import Leader
from mockexport.heartrate.journal.postgres.reader import Reader, read_released
from mockexport.heartrate.journal.postgres.schema import check_safety, prepare
from mockexport.heartrate.journal.postgres.session import Database
from mockexport.heartrate.journal.postgres.streams import Streams
from mockexport.heartrate.journal.postgres.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from mockexport.heartrate.journal.contract import OnCommit, Role

__all__ = ["PostgresJournal"]


class PostgresJournal:
    """A journal in a PostgreSQL database, with a stream for each server that writes; see `open_postgres_journal`.

    It takes three sessions: of the writer, the reader and the leader; and a fourth one once `documents` are asked for.
    After an error each is opened anew.
    """

    def __init__(self, url: str, on_commit: OnCommit, *, commit: str | None = None) -> None:
        address = address_of(url)
        self._database = Database(address, commit)
        try:
            session = self._database.open("reader")
            check_safety(session, address.place, commit)
            meta = prepare(session, address.place)
            self._id = meta.id
            self._streams = Streams(meta.id, on_commit)
            self._reader = Reader(self._database, session, self._streams, read_released(session, self._streams))
        except BaseException:
            self._database.close()
            raise
        self.documents = PostgresDocuments(self._database, meta.id)
        self._leader = Leader(self._database, meta.id)
        self._writer = Writer(self._database, self._streams)

    @property
    def id(self) -> str:
        """The permanent random id of this journal."""
        return self._id

    @property
    def place(self) -> str:
        """The URL, without user and secrets."""
        return self._database.place

    @property
    def positions(self) -> Mapping[str, int]:
        """By stream, the newest batch that was delivered, or is known to be released."""
        return self._streams.positions

    @property
    def released(self) -> Mapping[str, int]:
        """By stream, the newest batch that is known to be released."""
        return self._streams.released

    @property
    def version(self) -> int | None:
        """The newest version of the table known to be on disk."""
        return self._reader.meta.version

    @property
    def checkpoint(self) -> int | None:
        """The newest checkpoint of the table known to be on disk."""
        return self._reader.meta.checkpoint

    @property
    def seen(self) -> int | None:
        """The time that the clock was last seen to have."""
        return self._reader.meta.seen

    def append(self, payload: bytes) -> Future[None]:
        """Store a batch; the future is done when it is on disk, or fails with JournalError."""
        return self._writer.append(payload)

    def catch_up(self, seconds: float = CATCH_UP_SECONDS) -> Mapping[str, int]:
        """Deliver every batch that was committed before the call, and return what is released."""
        return self._reader.catch_up(seconds)

    def release(self, positions: Mapping[str, int], version: int) -> None:
        """Release the batches up to `positions`, and delete what can be. Raises JournalError if this is no leader."""
        slots = {self._streams.slot(stream): position for stream, position in positions.items()}
        self._leader.set_meta(version=version, slots=slots)
        self._reader.meta = self._reader.meta._replace(version=version)
        self._streams.release(slots.items())
        self._leader.drop()

    def note(self, version: int, checkpoint: int | None = None) -> None:
        """Record a version of the table, and a checkpoint of it. Raises JournalError if this is no leader."""
        self._leader.set_meta(version=version, checkpoint=checkpoint)
        meta = self._reader.meta
        self._reader.meta = meta._replace(version=version, checkpoint=checkpoint or meta.checkpoint)

    def see(self, time: int) -> None:
        """Record the time of the clock. Raises JournalError if this is no leader."""
        self._leader.set_meta(seen=time)
        self._reader.meta = self._reader.meta._replace(seen=time)

    def continue_after(self, position: int) -> None:
        """Use only ids above `position` from now on."""
        self._writer.continue_after(position)

    def lead(self, above: int = 0) -> int | None:
        """Return the term of this server, which is larger than `above`, if it leads, or has just become the leader."""
        return self._leader.lead(above)

    def resign(self, seconds: float) -> None:
        """If this server leads, let another one do so, and do not try for `seconds`."""
        self._leader.resign(seconds)

    def problem(self) -> str | None:
        """Return why a batch would be refused now."""
        return self._writer.problem()

    def close(self) -> None:
        """Write the waiting batches and end all sessions."""
        self._writer.close()
        self._leader.close()
        self._reader.close()
        self.documents.close()
        self._database.close()

    # Figures

    @property
    def role(self) -> Role:
        """Whether this server leads."""
        return "leader" if self._leader.holds else "follower"

    @property
    def term(self) -> int:
        """The newest term that is known."""
        return max(self._leader.term, self._reader.meta.term)

    @property
    def slot(self) -> int | None:
        """The number of the stream that this server writes; None while it can't."""
        return self._writer.slot

    @property
    def commits(self) -> int:
        """The groups that were committed."""
        return self._writer.commits

    @property
    def group_size(self) -> int:
        """The batches of the last group."""
        return self._writer.group_size

    @property
    def largest_group(self) -> int:
        """The batches of the largest group."""
        return self._writer.largest_group

    @property
    def waiting_bytes(self) -> int:
        """The size of the batches that are not committed yet."""
        return self._writer.waiting_bytes

    @property
    def last_error(self) -> str | None:
        """What last went wrong in one of the sessions, and does still."""
        return self._writer.problem() or self._reader.problem or self._leader.problem
