"""What a table of readings promises: the protocol of DeltaStore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    import polars as pl

    from mockexport.heartrate.table.schema import File, FlushProgress, Snapshot

__all__ = ["Store"]


class Store(Protocol):
    """A table of readings, which other programs may read. Thread-safe.

    Raises UnreachableError if it can't be written or read, or if another node writes it by now. After a failed write,
    `positions` says what the table has.
    """

    @property
    def term(self) -> int | None:
        """The term that this node writes the table in: 0 if no other does, None if this one must not."""

    def snapshot(self) -> Snapshot:
        """Return the newest version."""

    def refresh(self) -> None:
        """Load the versions that other processes have written."""

    def scan(self, files: Sequence[File]) -> pl.LazyFrame:
        """Return the readings in these files, at least one, with the columns of `merge.SCHEMA`."""

    def positions(self, streams: Iterable[str]) -> dict[str, int]:
        """Return, by stream, the last batch up to which the table has everything; not those that it has nothing of."""

    def flush_progress(self, journal: str, streams: Iterable[str]) -> FlushProgress | None:
        """Return the partial `append` of this journal that is still to be completed; None if there is none."""

    @property
    def journals(self) -> dict[str, str]:
        """The journals that the table names: by id, the place where each was last."""

    def name_journal(self, journal: str, place: str) -> None:
        """Record a journal of the table, and its place, in the table."""

    @property
    def begun(self) -> int:
        """The newest term that the table has; 0 if it has none."""

    def begin_term(self) -> None:
        """Record the term in the table, so that nothing of an older one is written from then on."""

    def sync_log(self) -> int:
        """Make sure that the newest version is on disk; return it."""

    def append(
        self,
        runs: Iterable[tuple[date, pl.DataFrame]],
        journal: str,
        positions: Mapping[str, int],
        through: date | None = None,
        had: Mapping[str, int] | None = None,
    ) -> int:
        """Add a run for each date, sorted by user, time and device; return the version, which is on disk.

        The same commit records `positions`, of streams of `journal`; with `through`, only for the days up to that one.
        With `had`, nothing is added unless these are still the positions of the table.
        """

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Replace files of a day by one run; return the version, which is on disk."""

    def remove(self, old: Sequence[File]) -> int:
        """Remove files; return the version, which is on disk."""

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the last one, `noted`; return its version."""

    def tidy(self) -> None:
        """Delete unused files; call it once the newest version and checkpoint have been recorded."""
