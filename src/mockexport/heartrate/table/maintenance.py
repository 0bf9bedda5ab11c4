"""What moves readings on: from pending to the table, from many small files to few sorted ones, and out when old."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from mockexport.errors import Remedy, UnreachableError, UntrustedDataError
from mockexport.heartrate.readings import microseconds_of, time_of
from mockexport.heartrate.table.merge import keep_latest
from mockexport.heartrate.table.pending import SEQUENCES_A_BATCH
from mockexport.heartrate.table.queries import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from threading import Event

    from mockexport.heartrate.journal import Journal
    from mockexport.heartrate.table.pending import Pending
    from mockexport.heartrate.table.schema import File
    from mockexport.heartrate.table.store import Store

__all__ = ["compact", "drop_old_days", "flush", "runs_to_compact", "tidy"]

ROWS_A_FLUSH = 1 << 20
DAYS_A_COMMIT = 500  # each is a file to write: half a second or so
CLOCK_STEP = 86_400_000_000  # microseconds
CLOCK_NOTED = 3_600_000_000  # microseconds; noting it is a write to disk
SMALLEST_RUN = (
    1 << 16
)  # rows; runs up to twice as large are of one tier, from there on each tier is four times the last
RUNS_A_TIER = 6


def flush(pending: Pending, journal: Journal, store: Store) -> bool:
    """Move the oldest pending readings into the table, then let the journal go of them; tell whether there were any.

    A commit adds DAYS_A_COMMIT days at most, the earliest ones first; so readings of many days take several calls, and
    the journal lets go of them with the last one. A crash in between is made good by the marks that the table keeps of
    the journal's position: what it has already is not added again.
    """
    store.refresh()  # a commit whose answer was lost is found here
    has = store.position(journal.id) or 0
    part = store.part(journal.id)
    if part and part.position <= has:
        part = None
    position, frames = pending.take(ROWS_A_FLUSH, part.position if part else 0)
    if not frames:
        return False
    sequence, day = pl.col("sequence"), pl.col("time").dt.date()
    wanted = sequence >= (has + 1) * SEQUENCES_A_BATCH
    if part:
        position = part.position
        wanted &= (sequence < (position + 1) * SEQUENCES_A_BATCH) & (day > part.through)
    new = keep_latest(pl.concat(frames).filter(wanted)).with_columns(day.alias("date"))
    days = new["date"].unique().sort()
    through = days[DAYS_A_COMMIT - 1] if days.len() > DAYS_A_COMMIT else None
    version = store.settle() if new.is_empty() else store.append(_by_day(new, through), journal.id, position, through)
    if through is None:
        journal.release(position, version)
        pending.drop(position)
    else:
        journal.note(version)
    return True


def _by_day(new: pl.DataFrame, through: date | None) -> Iterator[tuple[date, pl.DataFrame]]:
    wanted = new if through is None else new.filter(pl.col("date") <= through)
    by_day = wanted.partition_by("date", as_dict=True, include_key=False, maintain_order=True)
    return ((day, run) for (day,), run in by_day.items())


def compact(journal: Journal, store: Store, stop: Event, *, fully: bool = False) -> int:
    """Make one run of many, where there are enough of a size or wherever there are two; return how often.

    Ends early, with nothing half done, when `stop` is set.
    """
    done = 0
    snapshot = store.snapshot()
    for day, files in snapshot.days.items():
        old = _all_runs(files) if fully else runs_to_compact(files)
        if old and not stop.is_set():
            journal.note(store.replace(old, _until(stop, cut([store.scan(old)])), day))
            done += 1
    return done


def _until(stop: Event, frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        if stop.is_set():
            raise UnreachableError("the service is being closed")
        yield frame


def runs_to_compact(files: Sequence[File]) -> list[File]:
    """Choose the files of runs that have become too many of one size, with those of all smaller runs.

    So a reading is written again once for every tier that it passes, and a day has few runs in each.
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
    """Take the days out of the table that ended longer ago than `retain`; return them.

    A clock that jumped forward would drop what it shouldn't. So it is trusted when it went on by CLOCK_STEP at most
    since it was noted last, or when readings of these days came, or with `trust_clock`. Raises UntrustedDataError where
    there is something to drop and it isn't trusted.
    """
    time, days = microseconds_of(now), store.snapshot().days
    seen = journal.seen
    nearby = any(abs(day - now.date()) <= timedelta(days=1) for day in days)
    trusted = trust_clock or nearby or (seen is not None and time - seen <= CLOCK_STEP)
    if trusted and (seen is None or abs(time - seen) >= CLOCK_NOTED):
        journal.see(time)
    try:
        last = (now - retain).date() - timedelta(days=1)
    except OverflowError:  # nothing is so old
        return []
    old = [day for day in days if day <= last]
    if old and not trusted:
        noted = "never noted before" if seen is None else f"was at {time_of(seen):%Y-%m-%d} when noted last"
        raise UntrustedDataError(
            f"{len(old)} days are old by the clock, which says {now:%Y-%m-%d} and {noted}, but no reading is of that "
            "time: set the clock right",
            remedy=Remedy.TRUST_CLOCK,
        )
    for number in range(0, len(old), DAYS_A_COMMIT):
        files = [file for day in old[number : number + DAYS_A_COMMIT] for file in days[day]]
        journal.note(store.remove(files))
    return old


def tidy(journal: Journal, store: Store) -> None:
    """Shorten the table's log and delete the files that nothing needs any more."""
    made = store.checkpoint(journal.checkpoint)
    journal.note(store.settle(), made)
    store.tidy()
