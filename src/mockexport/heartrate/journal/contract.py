"""What every journal promises: SqliteJournal, for one server, and PostgresJournal, which several share.

A journal has one or more streams. A **stream** is the batches of one writer, by id; ids only increase in it, so whoever
has read a stream up to an id has all of it up to there. A **position** is the id of a batch in a stream, and
**positions** are a mapping with one for each stream (0, or none, where nothing was stored yet). Ids are unique over all
streams, and increase in real time: an id given after another batch was acknowledged is larger than that batch's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

from mockexport.errors import MockExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from typing import TypeAlias

    from mockexport.shared import Documents

__all__ = [
    "CATCH_UP_SECONDS",
    "LAST_ID",
    "Entry",
    "Journal",
    "JournalError",
    "JournalFullError",
    "OnCommit",
    "Role",
    "lacks",
]

CATCH_UP_SECONDS = 10.0
LAST_ID = (1 << 53) - 1  # with 1,024 sequences a batch, sequences are 64-bit numbers up to here

Role = Literal["alone", "leader", "follower"]
"""What a node may do with the table: `alone` and `leader` write it, `follower` only reads it."""


class Entry(NamedTuple):
    """A batch in the journal."""

    id: int
    payload: bytes


OnCommit: TypeAlias = "Callable[[str, list[Entry]], None]"
"""Is given the name of a stream and the next batches of it, all of them on disk."""


class JournalError(MockExportError):
    """A batch could not be stored, or not for certain: it was not acknowledged, and can be sent again."""

    exit_code: ClassVar[int] = 5


class JournalFullError(JournalError):
    """The journal has reached its limit; `retry_after` says when to retry, in seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Journal(Protocol):
    """Stores batches in streams until they are released. Thread-safe.

    Its `OnCommit` is called with each batch of every stream exactly once, in the order of the stream, and with a batch
    that was appended here before its future is done.
    """

    @property
    def id(self) -> str:
        """The permanent random id of this journal; the names of its streams begin with it."""

    @property
    def place(self) -> str:
        """Where the journal is: a path, or a URL without secrets."""

    @property
    def documents(self) -> Documents:
        """What else all servers of this journal share; in memory if the journal is not shared."""

    @property
    def positions(self) -> Mapping[str, int]:
        """By stream, the id of the newest batch that was delivered, or is known to be released."""

    @property
    def released(self) -> Mapping[str, int]:
        """By stream, the id of the newest batch that is known to be released."""

    @property
    def version(self) -> int | None:
        """The newest version of the table known to be on disk; None if none was recorded."""

    @property
    def checkpoint(self) -> int | None:
        """The newest checkpoint of the table known to be on disk."""

    @property
    def seen(self) -> int | None:
        """The time that the clock was last seen to have, in microseconds since 1970."""

    def append(self, payload: bytes) -> Future[None]:
        """Store a batch; the future is done when it is on disk, or fails with JournalError.

        Where it failed, the batch may be stored all the same if the journal is shared.
        """

    def catch_up(self, seconds: float = CATCH_UP_SECONDS) -> Mapping[str, int]:
        """Deliver every batch that was committed before the call, and return what is released, by stream.

        Batches that are known to be released are not delivered. Raises JournalError after `seconds`. Call it once
        before the first `append`.
        """

    def release(self, positions: Mapping[str, int], version: int) -> None:
        """Release the batches up to `positions`: `version` of the table has them on disk. Raises JournalError."""

    def note(self, version: int, checkpoint: int | None = None) -> None:
        """Record that a version of the table, and a checkpoint of it, are on disk. Raises JournalError."""

    def see(self, time: int) -> None:
        """Record the time of the clock, in microseconds since 1970. Raises JournalError."""

    def continue_after(self, position: int) -> None:
        """Use only ids above `position` from now on. Call it before the first `append`."""

    def lead(self, above: int = 0) -> int | None:
        """Return the term of this node if it may write the table now, else None. Raises JournalError.

        A term is larger than those before it, and than `above`. It is 0 for a journal that is not shared.
        """

    def resign(self, seconds: float) -> None:
        """Let another node lead, and do not try to lead for `seconds`. Nothing changes if the journal is not shared."""

    def problem(self) -> str | None:
        """Return why a batch would be refused now; None if it would be accepted."""

    def close(self) -> None:
        """Write the waiting batches and close everything."""

    # Figures

    @property
    def role(self) -> Role:
        """What this node may do with the table, as far as it is known."""

    @property
    def term(self) -> int:
        """The newest term that is known; 0 if there was none."""

    @property
    def slot(self) -> int | None:
        """The number of the stream that this node writes; None without one."""

    @property
    def commits(self) -> int:
        """The groups that were committed."""

    @property
    def group_size(self) -> int:
        """The batches of the last group."""

    @property
    def largest_group(self) -> int:
        """The batches of the largest group."""

    @property
    def waiting_bytes(self) -> int:
        """The size of the batches that are not committed yet."""

    @property
    def last_error(self) -> str | None:
        """What last went wrong in the background, and does still; None if nothing does."""


def lacks(positions: Mapping[str, int], others: Mapping[str, int]) -> bool:
    """Return whether `others` are further in some stream."""
    return any(position > positions.get(stream, 0) for stream, position in others.items())
