"""The merge rules of queries: pure functions on Polars frames.

A frame of readings has the columns of `SCHEMA`, and its rows in any order. `sequence` is the order of arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "TIME", "UNKNOWN_PRIORITY", "best_by_minute", "keep_latest"]

TIME = pl.Datetime("us", "UTC")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user": pl.String,
    "device": pl.String,
    "time": TIME,
    "rate": pl.Float64,
    "sequence": pl.Int64,
}
UNKNOWN_PRIORITY = 999


def keep_latest(readings: pl.DataFrame) -> pl.DataFrame:
    """Keep the reading that arrived last for each user, device and time; sort by user, time, device."""
    ordered = readings.sort("user", "time", "device", "sequence")
    followed = pl.lit(True)
    for column in ("user", "time", "device"):
        followed &= pl.col(column) == pl.col(column).shift(-1)
    return ordered.filter(~followed.fill_null(False))


def best_by_minute(readings: pl.DataFrame, priorities: Mapping[str, int]) -> pl.DataFrame:
    """Return `minute`, `rate`, `device`: for each UTC minute the mean rate of its best device, in order.

    `readings` are of one user, without duplicates. The best device is the one with the lowest priority among those that
    reported in that minute; a device without a priority has 999; ties are resolved by id.
    """
    ranked = readings.select(
        pl.col("time").dt.truncate("1m").alias("minute"), "time", "device", "rate", _priority(priorities)
    ).sort("minute", "priority", "device", "time")
    return (
        ranked.filter(pl.col("device") == pl.col("device").first().over("minute"))
        .group_by("minute", maintain_order=True)
        .agg(pl.col("rate").mean(), pl.col("device").first())
    )


def _priority(priorities: Mapping[str, int]) -> pl.Expr:
    if not priorities:
        return pl.lit(UNKNOWN_PRIORITY).alias("priority")
    names, numbers = list(priorities), list(priorities.values())
    return (
        pl.col("device")
        .replace_strict(names, numbers, default=UNKNOWN_PRIORITY, return_dtype=pl.Int64)
        .alias("priority")
    )
