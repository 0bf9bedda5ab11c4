"""What moves readings on: from pending to the table, from many small files to few sorted ones, and out when old."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from mockexport.errors import UnreachableError
from mockexport.heartrate.merge import last_in_stands
from mockexport.heartrate.pending import SEQUENCES_A_BATCH
from mockexport.heartrate.questions import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from threading import Event

    from mockexport.heartrate.journal import Journal
    from mockexport.heartrate.pending import Pending
    from mockexport.heartrate.store import Store
    from mockexport.heartrate.table import File

__all__ = ["compact", "drop_old_days", "flush", "runs_to_compact", "tidy"]

ROWS_A_FLUSH = 1 << 20
SMALLEST_RUN = (
    1 << 16
)  # rows; runs up to twice as large are of one tier, from there on each tier is four times the last
RUNS_A_TIER = 6


def flush(pending: Pending, journal: Journal, store: Store) -> bool:
    """Move the oldest pending readings into the table, then let the journal go of them; tell whether there were any.

    A crash in between is made good by the mark that the table keeps of the journal's position: what it has already is
    not added again.
    """
    position, frames = pending.take(ROWS_A_FLUSH)
    if not frames:
        return False
    store.refresh()  # a commit whose answer was lost is found here
    has = store.position(journal.id) or 0
    new = last_in_stands(pl.concat(frames).filter(pl.col("sequence") >= (has + 1) * SEQUENCES_A_BATCH))
    if new.is_empty():
        version = store.settle()
    else:
        by_day = new.with_columns(pl.col("time").dt.date().alias("date")).partition_by(
            "date", as_dict=True, include_key=False, maintain_order=True
        )
        version = store.append(((day, run) for (day,), run in by_day.items()), journal.id, position)
    journal.release(position, version)
    pending.drop(position)
    return True


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


def drop_old_days(journal: Journal, store: Store, retain: timedelta, now: datetime) -> list[date]:
    """Take the days out of the table that ended longer ago than `retain`; return them."""
    last = (now - retain).date() - timedelta(days=1)
    old = {day: files for day, files in store.snapshot().days.items() if day <= last}
    if old:
        journal.note(store.remove([file for files in old.values() for file in files]))
    return list(old)


def tidy(journal: Journal, store: Store) -> None:
    """Shorten the table's log and delete the files that nothing needs any more."""
    made = store.checkpoint(journal.checkpoint)
    journal.note(store.settle(), made)
    store.tidy()
