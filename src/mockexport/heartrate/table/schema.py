"""The structure of the table: its columns, its files with their statistics, and its versions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import orjson
import polars as pl
from deltalake import Schema
from deltalake.schema import Field, PrimitiveType

from mockexport.heartrate.readings import LATEST, time_of
from mockexport.model import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from deltalake import DeltaTable

__all__ = [
    "CONFIGURATION",
    "FORMAT",
    "FORMAT_KEY",
    "JOURNAL_KEY",
    "TABLE_SCHEMA",
    "File",
    "FlushProgress",
    "Snapshot",
    "snapshot_of",
    "statistics_of",
]

FORMAT = "1"
FORMAT_KEY = "mockexport.heartrate.format"
JOURNAL_KEY = "mockexport.heartrate.journal.journal."  # followed by its id; the value is where it was last
TABLE_SCHEMA = Schema(
    [
        Field("user", PrimitiveType("string")),
        Field("device", PrimitiveType("string")),
        Field("time", PrimitiveType("timestamp")),
        Field("rate", PrimitiveType("double")),
        Field("sequence", PrimitiveType("long")),
        Field("date", PrimitiveType("date")),
    ]
)
CONFIGURATION = {
    FORMAT_KEY: FORMAT,
    "delta.logRetentionDuration": "interval 1 hours",  # the default is a month, at an entry every few seconds
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}
MILLISECOND = 1000


@dataclass(frozen=True, slots=True)
class File:
    """A Parquet file of the table; None is a statistic that the program that wrote it did not record.

    `first` and `last` bound its times (microseconds since 1970), `first_user` and `last_user` its users; `sequence` is
    the highest in it.
    """

    path: str
    date: date
    rows: int
    size: int
    first_user: str | None = None
    last_user: str | None = None
    first: int | None = None
    last: int | None = None
    sequence: int | None = None

    @property
    def run(self) -> str:
        """The run of the file: files that were written together, sorted and without overlap."""
        return self.path.rpartition("-")[0]

    def may_hold(self, user: str, start: int, end: int) -> bool:
        """Return whether it may have a reading of the user with `start <= time <= end`."""
        return (
            (self.first_user is None or self.first_user <= user)
            and (self.last_user is None or user <= self.last_user)
            and (self.first is None or self.first <= end)
            and (self.last is None or start <= self.last)
        )


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Snapshot:
    """The files of one version, by date. The store deletes none of them while a reference to it exists."""

    version: int
    days: dict[date, tuple[File, ...]] = field(repr=False)

    @property
    def paths(self) -> set[str]:
        """The paths of all its files."""
        return {file.path for files in self.days.values() for file in files}

    def holds(self, paths: Sequence[str]) -> bool:
        """Return whether it has all these files."""
        return not paths or self.paths.issuperset(paths)

    @property
    def sequence(self) -> int:
        """The highest known sequence in its files, or 0."""
        return max((file.sequence or 0 for files in self.days.values() for file in files), default=0)


class FlushProgress(NamedTuple):
    """The progress of a flush that takes several commits.

    The table has the readings of the batches up to `positions`, by stream, for the days up to `through`, inclusive.
    """

    positions: dict[str, int]
    through: date


def snapshot_of(table: DeltaTable) -> Snapshot:
    """Return a snapshot of the version that `table` has loaded."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))

    def column(name: str, kind: pl.DataType | type[pl.DataType]) -> list[object]:
        return actions[name].cast(kind).to_list() if name in actions.columns else [None] * actions.height

    days: defaultdict[date, list[File]] = defaultdict(list)
    for row in zip(
        column("path", pl.String),
        column("partition.date", pl.Date),
        column("num_records", pl.Int64),
        column("size_bytes", pl.Int64),
        column("min.user", pl.String),
        column("max.user", pl.String),
        column("min.time", pl.Int64),
        column("max.time", pl.Int64),
        column("max.sequence", pl.Int64),
        strict=True,
    ):
        file = File(*row)
        days[file.date].append(file)
    return Snapshot(table.version(), {day: tuple(files) for day, files in sorted(days.items())})


def statistics_of(run: pl.DataFrame) -> str:
    """Return the statistics of a file with `run`, which is sorted by user, as JSON for the log.

    Times are in milliseconds, since some programs read no more, and rounded outwards.
    """
    times = run["time"].cast(pl.Int64)
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    first -= first % MILLISECOND
    last = min(last + -last % MILLISECOND, LATEST - LATEST % MILLISECOND)
    lowest = {"user": run["user"][0], "time": time_text(time_of(first)), "sequence": run["sequence"].min()}
    highest = {"user": run["user"][-1], "time": time_text(time_of(last)), "sequence": run["sequence"].max()}
    missing = dict.fromkeys(run.columns, 0)
    return orjson.dumps(
        {"numRecords": run.height, "minValues": lowest, "maxValues": highest, "nullCount": missing}
    ).decode()
