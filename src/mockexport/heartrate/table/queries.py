"""Queries: a user's points, summaries of the days, the rows of a day.

All take the pending frames and a snapshot of the table, taken in this order, so that no reading is missed. Readings
that are in both count once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from mockexport.heartrate.readings import LATEST, DaySummary, Point, time_of
from mockexport.heartrate.table.merge import best_by_minute, keep_latest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from mockexport.heartrate.table.contract import Store
    from mockexport.heartrate.table.schema import File, Snapshot

__all__ = ["days_in", "distinct_readings", "points", "rows_of", "summarise_day"]

ROWS_AT_ONCE = 1 << 20
USERS_NAMED = 1000


def points(
    store: Store,
    snapshot: Snapshot,
    pending: Sequence[pl.DataFrame],
    user: str,
    start: int,
    end: int,
    device: str | None,
    priorities: Mapping[str, int],
) -> list[Point]:
    """Return a user's points in order, from the readings with `start <= time <= end` (microseconds since 1970)."""
    first, last = time_of(start), time_of(end)
    found = (pl.col("user") == pl.lit(user)) & pl.col("time").is_between(first, last)
    if device is not None:
        found &= pl.col("device") == pl.lit(device)
    files = [
        file
        for day, files in snapshot.days.items()
        if first.date() <= day <= last.date()
        for file in files
        if file.may_hold(user, start, end)
    ]
    parts = [frame.lazy() for frame in pending]
    if files:
        parts.append(store.scan(files))
    if not parts:
        return []
    readings = pl.concat([part.filter(found) for part in parts]).collect()
    if readings.is_empty():
        return []
    answer = best_by_minute(keep_latest(readings), priorities)
    columns = (answer["minute"].cast(pl.Int64).to_list(), answer["rate"].to_list(), answer["device"].to_list())
    return list(map(Point, *columns))


def days_in(snapshot: Snapshot, pending: Sequence[pl.DataFrame]) -> dict[date, tuple[tuple[File, ...], int]]:
    """Return the days that have readings, with their files and a mark of their pending readings.

    The mark is another one if others are pending; it is 0 if there are none.
    """
    marks: dict[date, int] = {}
    for frame in pending:
        by_day = frame.group_by(pl.col("time").dt.date()).agg(pl.col("sequence").hash().sum())
        for day, mark in by_day.iter_rows():
            marks[day] = marks.get(day, 0) + mark
    return {day: (snapshot.days.get(day, ()), marks.get(day, 0)) for day in sorted({*snapshot.days, *marks})}


def summarise_day(store: Store, day: date, files: Sequence[File], pending: Sequence[pl.DataFrame]) -> DaySummary:
    """Return the summary of a day."""
    rows, sequence, earliest, latest = 0, 0, LATEST, -LATEST
    users: set[str] = set()
    for readings in _readings_of_day(store, day, files, pending):
        times = readings["time"].cast(pl.Int64)
        rows += readings.height
        sequence = max(sequence, _int(readings["sequence"].max()))
        earliest, latest = min(earliest, _int(times.min())), max(latest, _int(times.max()))
        if len(users) <= USERS_NAMED:
            users.update(readings["user"].unique())
    named = tuple(sorted(users)) if len(users) <= USERS_NAMED else None
    return DaySummary(day, rows, named, earliest, latest, f"{sequence:x}-{rows:x}")


def rows_of(store: Store, day: date, files: Sequence[File], pending: Sequence[pl.DataFrame]) -> Generator[pl.DataFrame]:
    """Yield a day's distinct readings: user, device, time (microseconds since 1970), rate; by user, time, device."""
    for readings in _readings_of_day(store, day, files, pending):
        yield readings.select("user", "device", pl.col("time").cast(pl.Int64), "rate")


def _readings_of_day(
    store: Store, day: date, files: Sequence[File], pending: Sequence[pl.DataFrame]
) -> Iterator[pl.DataFrame]:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    within = pl.col("time").is_between(midnight, midnight + (timedelta(days=1) - timedelta(microseconds=1)))
    parts = [part for frame in pending if not (part := frame.filter(within)).is_empty()]
    yield from distinct_readings([part.lazy() for part in parts] + ([store.scan(files)] if files else []))


def distinct_readings(parts: Sequence[pl.LazyFrame]) -> Iterator[pl.DataFrame]:
    """Yield the distinct readings of `parts`, by user, time and device, a bounded number at a time."""
    if not parts:
        return
    readings = pl.concat(parts)
    for partition in _partitions(readings):
        found = keep_latest(readings.filter(partition).collect())
        if not found.is_empty():
            yield found


def _partitions(readings: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Yield ranges of users, and of times within a user with very many readings."""
    if readings.select(pl.len()).collect().item() <= ROWS_AT_ONCE:
        yield pl.lit(True)
        return
    users = (
        readings.group_by("user")
        .agg(pl.len().alias("rows"), pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
        .collect(engine="streaming")
        .sort("user")
        .with_columns((pl.col("rows").cum_sum() // ROWS_AT_ONCE).alias("partition"))
        .group_by("partition", (pl.col("rows") > ROWS_AT_ONCE).alias("alone"), maintain_order=True)
        .agg(
            pl.col("user").first().alias("from"),
            pl.col("user").last().alias("to"),
            pl.col("rows").sum(),
            pl.col("first").min(),
            pl.col("last").max(),
        )
    )
    for row in users.iter_rows(named=True):
        who = pl.col("user").is_between(pl.lit(row["from"]), pl.lit(row["to"]))
        if not row["alone"]:
            yield who
            continue
        yield from (who & when for when in _slices(row["first"], row["last"], -(-row["rows"] // ROWS_AT_ONCE)))


def _slices(first: datetime, last: datetime, count: int) -> Iterator[pl.Expr]:
    """Yield `count` equal slices of the time from `first` to `last`."""
    borders = [first + (last - first) / count * number for number in range(1, count)]
    time = pl.col("time")
    for number in range(count):
        after = time >= borders[number - 1] if number else pl.lit(True)
        yield after & (time < borders[number]) if number < count - 1 else after


def _int(value: Any) -> int:
    return int(value)
