"""Maintenance of the table: flushing pending readings, compacting small files, dropping old days."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from mockexport.errors import Remedy, UnreachableError, UntrustedDataError
from mockexport.heartrate.readings import microseconds_of, time_of
from mockexport.heartrate.table.merge import keep_latest
from mockexport.heartrate.table.pending import is_after
from mockexport.heartrate.table.queries import distinct_readings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from threading import Event

    from mockexport.heartrate.journal import Journal
    from mockexport.heartrate.table.contract import Store
    from mockexport.heartrate.table.pending import Pending
    from mockexport.heartrate.table.schema import File

__all__ = ["compact", "drop_old_days", "flush", "runs_to_compact", "tidy"]

ROWS_A_FLUSH = 1 << 20
DAYS_A_COMMIT = 500  # each is a file to write: about half a second in all
CLOCK_STEP = 86_400_000_000  # microseconds
CLOCK_INTERVAL = 3_600_000_000  # microseconds; recording the clock is a write to disk
SMALLEST_RUN = (
    1 << 16
)  # rows; runs up to twice as large are of one tier, from there on each tier is four times the last
RUNS_A_TIER = 6


def flush(pending: Pending, journal: Journal, store: Store) -> bool:
    """Move the oldest pending readings into the table, then release them in the journal; return False if none.

    A commit adds at most DAYS_A_COMMIT days, the earliest first. Readings of more days take several calls, and the
    journal releases them with the last one. The table records the positions in the journal's streams with each commit
    (as Delta Lake application transactions), so after a crash nothing is added twice.
    """
    store.refresh()  # finds a commit whose response was lost
    streams = list(journal.positions)
    has, part = store.positions(streams), store.flush_progress(journal.id, streams)
    positions, frames = pending.take(ROWS_A_FLUSH, part.positions if part else None)
    if not frames:
        return False
    positions = part.positions if part else positions
    later = [
        frame.filter(is_after(has.get(stream, 0)) & ~is_after(positions[stream]))
        for stream, its in frames.items()
        for frame in its
    ]
    new = keep_latest(pl.concat(later)).with_columns(pl.col("time").dt.date().alias("date"))
    if part:
        new = new.filter(pl.col("date") > part.through)
    days = new["date"].unique().sort()
    through = days[DAYS_A_COMMIT - 1] if days.len() > DAYS_A_COMMIT else None
    if new.is_empty():
        version = store.sync_log()
    else:
        version = store.append(_by_day(new, through), journal.id, positions, through, had=has)
    if through is None:
        journal.release(positions, version)
        pending.drop(positions)
    else:
        journal.note(version)
    return True


def _by_day(new: pl.DataFrame, through: date | None) -> Iterator[tuple[date, pl.DataFrame]]:
    wanted = new if through is None else new.filter(pl.col("date") <= through)
    by_day = wanted.partition_by("date", as_dict=True, include_key=False, maintain_order=True)
    return ((day, run) for (day,), run in by_day.items())


def compact(journal: Journal, store: Store, stop: Event, *, fully: bool = False) -> int:
    """Merge many runs of a day into one, or with `fully` all of them; return the number of days.

    Setting `stop` ends it early, with every commit complete.
    """
    done = 0
    snapshot = store.snapshot()
    for day, files in snapshot.days.items():
        old = _all_runs(files) if fully else runs_to_compact(files)
        if old and not stop.is_set():
            journal.note(store.replace(old, _until(stop, distinct_readings([store.scan(old)])), day))
            done += 1
    return done


def _until(stop: Event, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        if stop.is_set():
            raise UnreachableError("the service is being closed")
        yield frame


def runs_to_compact(files: Sequence[File]) -> list[File]:
    """Return the files of runs to merge: those of a tier with too many runs, and those of all smaller tiers.

    This is size-tiered compaction: a reading is rewritten once for each tier, and each tier of a day has few runs.
    """
    runs: defaultdict[str, list[File]] = defaultdict(list)
    for file in files:
        runs[file.run].append(file)
    tiers: defaultdict[int, list[str]] = defaultdict(list)
    for run, its in runs.items():
        tiers[(sum(file.rows for file in its) // SMALLEST_RUN).bit_length() // 2].append(run)
    full = [tier for tier, names in tiers.items() if len(names) >= RUNS_A_TIER]
    return [file for tier in tiers if full and tier <= max(full) for run in tiers[tier] for file in runs[run]]


def _all_runs(files: Sequence[File]) -> Sequence[File]:
    return files if len({file.run for file in files}) > 1 else []


def drop_old_days(
    journal: Journal, store: Store, retain: timedelta, now: datetime, *, trust_clock: bool = False
) -> list[date]:
    """Remove the days from the table that ended longer ago than `retain`; return them.

    A clock that jumped forward would drop days too early. So it is trusted only if it has advanced by at most
    CLOCK_STEP since it was last recorded, if there are readings of about its date, or with `trust_clock`. Raises
    UntrustedDataError if there are days to drop and it is not trusted.
    """
    time, days = microseconds_of(now), store.snapshot().days
    seen = journal.seen
    nearby = any(abs(day - now.date()) <= timedelta(days=1) for day in days)
    trusted = trust_clock or nearby or (seen is not None and time - seen <= CLOCK_STEP)
    if trusted and (seen is None or abs(time - seen) >= CLOCK_INTERVAL):
        journal.see(time)
    try:
        last = (now - retain).date() - timedelta(days=1)
    except OverflowError:  # before year 1
        return []
    old = [day for day in days if day <= last]
    if old and not trusted:
        noted = "was never recorded before" if seen is None else f"was at {time_of(seen):%Y-%m-%d} when last recorded"
        raise UntrustedDataError(
            f"{len(old)} days are old by the clock, which is at {now:%Y-%m-%d} and {noted}, but no readings are of "
            "that time: correct the clock",
            remedy=Remedy.TRUST_CLOCK,
        )
    for number in range(0, len(old), DAYS_A_COMMIT):
        files = [file for day in old[number : number + DAYS_A_COMMIT] for file in days[day]]
        journal.note(store.remove(files))
    return old


def tidy(journal: Journal, store: Store) -> None:
    """Shorten the table's log, and delete files that are no longer used."""
    made = store.checkpoint(journal.checkpoint)
    journal.note(store.sync_log(), made)
    store.tidy()
