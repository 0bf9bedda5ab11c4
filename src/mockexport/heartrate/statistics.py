"""The statistics of a heart-rate service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mockexport.heartrate.journal import Journal, Role
    from mockexport.heartrate.table import Pending

__all__ = ["Statistics"]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of the statistics of a service. Positions are batch ids; counts are since its start.

    What is pending is in the journal and not in the table yet, its seconds since the oldest of it came to this server.
    `role` is `leader` or `follower` where servers share the `journal`, and `alone` otherwise; `leads` is 1 if this one
    writes the table. `term` counts the leaders until now. `slot` is the number of this server's stream in the journal.
    """

    journal_bytes: int = 0
    pending_batches: int = 0
    pending_readings: int = 0
    pending_seconds: float = 0.0
    journaled_position: int = 0
    flushed_position: int = 0
    table_version: int = 0
    files: int = 0
    days: int = 0
    commits: int = 0
    last_group_size: int = 0
    largest_group_size: int = 0
    flushes: int = 0
    last_flush_seconds: float = 0.0
    compactions: int = 0
    dropped_days: int = 0
    last_error: str | None = None
    journal: str | None = None
    role: Role = "alone"
    leads: int = 1
    term: int = 0
    slot: int | None = None

    def with_journal(self, journal: Journal, pending: Pending) -> Statistics:
        """Add the statistics of a journal, and of what is pending in it."""
        batches, seconds = pending.lag()
        return replace(
            self,
            journal_bytes=pending.bytes + journal.waiting_bytes,
            pending_batches=batches,
            pending_readings=pending.readings,
            pending_seconds=seconds,
            journaled_position=max(journal.positions.values(), default=0),
            flushed_position=max(journal.released.values(), default=0),
            commits=journal.commits,
            last_group_size=journal.group_size,
            largest_group_size=journal.largest_group,
            last_error=self.last_error or journal.last_error,
            journal=journal.place,
            role=journal.role,
            leads=int(journal.role != "follower"),
            term=journal.term,
            slot=journal.slot,
        )

    def sharing(self) -> dict[str, Any]:
        """Return how this server stands among those that share its journal; nothing if the journal is its own."""
        if self.role == "alone":
            return {}
        batches, readings, seconds = self.pending_batches, self.pending_readings, round(self.pending_seconds, 1)
        lag = {"batches": batches, "readings": readings, "seconds": seconds}
        return {"role": self.role, "term": self.term, "slot": self.slot, "lag": lag}
