"""From sums to figures: what is shown of the records of a patient and type, of a type, and of all."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mockexport.stats.numbers import exact, nearest, nearest_sqrt, order
from mockexport.stats.result import BUCKET_BITS, NO_VALUES, PairStats, Sketch, add_values
from mockexport.stats.times import text_of_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.stats.result import Segment, Values

__all__ = ["Gaps", "TimeFigures", "gaps_in_order", "pair_figures", "time_figures", "total_figures"]

SECOND = 1_000_000
QUANTILES = {"p05": Fraction(1, 20), "median": Fraction(1, 2), "p95": Fraction(19, 20)}


@dataclass(frozen=True, slots=True)
class Gaps:
    """The times of a pair in time order: how many are there again, and the longest time between two, and its start."""

    duplicates: int = 0
    longest: int = 0
    start: int = 0


@dataclass(frozen=True, slots=True)
class TimeFigures:
    """The times of some records, in microseconds: of one pair, or of several together.

    `span` is the sum of last - first of all pairs, `intervals` the number of times behind the first of each.
    """

    first: int
    last: int
    span: int
    intervals: int
    out_of_order: int
    gaps: Gaps

    def __add__(self, other: TimeFigures) -> TimeFigures:
        longest = min(self.gaps, other.gaps, key=lambda gaps: (-gaps.longest, gaps.start))
        return TimeFigures(
            min(self.first, other.first),
            max(self.last, other.last),
            self.span + other.span,
            self.intervals + other.intervals,
            self.out_of_order + other.out_of_order,
            Gaps(self.gaps.duplicates + other.gaps.duplicates, longest.longest, longest.start),
        )


def gaps_in_order(segments: Iterable[Segment]) -> Gaps | None:
    """Return the gaps of a pair; None where they can't be told without sorting its times.

    They can where each part is in order, and no two parts overlap.
    """
    parts = sorted(segments, key=lambda part: (part.low, part.high))
    if any(part.out_of_order for part in parts) or any(one.high > other.low for one, other in pairwise(parts)):
        return None
    gaps = [(part.gap, part.gap_start) for part in parts]
    gaps += [(other.low - one.high, one.high) for one, other in pairwise(parts)]
    duplicates = sum(part.duplicates for part in parts) + sum(one.high == other.low for one, other in pairwise(parts))
    longest, start = min(gaps, key=lambda gap: (-gap[0], gap[1]), default=(0, 0))
    return Gaps(duplicates, longest, start)


def time_figures(stats: PairStats, gaps: Gaps) -> TimeFigures | None:
    """Return the figures of a pair's times; None if it has none."""
    if not stats.segments:
        return None
    first, last = min(part.low for part in stats.segments), max(part.high for part in stats.segments)
    in_file = sorted(stats.segments, key=lambda part: (part.download, part.begin))
    out_of_order = sum(part.out_of_order for part in in_file) + sum(
        one.download == other.download and other.first < one.last for one, other in pairwise(in_file)
    )
    return TimeFigures(first, last, last - first, stats.records - stats.not_a_time - 1, out_of_order, gaps)


def pair_figures(stats: PairStats, times: TimeFigures | None) -> dict[str, Any]:
    """Return the figures of records, by name; docs/stats.md says what each is."""
    values = value_figures(stats.values)
    latency = nearest(Fraction(times.span, times.intervals * SECOND)) if times and times.intervals else None
    figures = {
        "mean": values.pop("mean"),
        "min": values.pop("min"),
        "max": values.pop("max"),
        "anomalies": stats.anomalies,
        "latency": latency,
        "count": stats.records,
        "not_a_number": stats.not_a_number,
        **values,
    }
    if stats.not_a_time:
        figures["not_a_time"] = stats.not_a_time
    longest = times.gaps.longest if times and times.intervals else None
    return figures | {
        "first": times and text_of_time(times.first),
        "last": times and text_of_time(times.last),
        "longest_gap": None if longest is None else longest / SECOND,
        "longest_gap_start": None if times is None or longest is None else text_of_time(times.gaps.start),
        "duplicates": times.gaps.duplicates if times else 0,
        "out_of_order": times.out_of_order if times else 0,
        "future": stats.future,
    }


def total_figures(parts: Sequence[tuple[PairStats, TimeFigures | None]], *, of_one_type: bool) -> dict[str, Any]:
    """Return the figures of several pairs together; those of their values make sense for `of_one_type` alone."""
    values: Values = NO_VALUES
    times: TimeFigures | None = None
    total = PairStats()
    for stats, of_times in parts:
        total += replace(stats, values=NO_VALUES, segments=())
        values = add_values(values, stats.values) if of_one_type else values
        times = times + of_times if times and of_times else times or of_times
    figures = pair_figures(replace(total, values=values), times)
    return figures if of_one_type else {name: figure for name, figure in figures.items() if name not in OF_VALUES}


OF_VALUES = {"mean", "min", "max", "sd", *QUANTILES, "approximate"}


def value_figures(values: Values) -> dict[str, Any]:
    """Return the figures of numbers; they are rounded once, to the nearest double, half to even."""
    if not values:
        return dict.fromkeys(("mean", "min", "max", "sd", *QUANTILES))
    if isinstance(values, Sketch):
        sums = [(exact((1, e)), one, square) for e, (one, square) in values.sums.items()]
        count, low, high = sum(values.buckets.values()), values.low, values.high
        total = sum((scale * one for scale, one, _ in sums), Fraction(0))
        squares = sum((scale * scale * square for scale, _, square in sums), Fraction(0))
        quantiles: dict[str, Any] = quantiles_of({middle(bucket): n for bucket, n in values.buckets.items()})
        quantiles = {name: min(max(value, nearest(low)), nearest(high)) for name, value in quantiles.items()}
        quantiles["approximate"] = True
    else:
        count, low, high = sum(values.values()), min(values, key=order), max(values, key=order)
        total = sum((exact(number) * n for number, n in values.items()), Fraction(0))
        squares = sum((exact(number) ** 2 * n for number, n in values.items()), Fraction(0))
        in_order = {order(number): n for number, n in values.items()}
        quantiles = {name: float(value) for name, value in quantiles_of(in_order).items()}
    mean = total / count
    return {
        "mean": nearest(mean),
        "min": nearest(low),
        "max": nearest(high),
        "sd": nearest_sqrt((squares - total * mean) / (count - 1)) if count > 1 else None,
        **quantiles,
    }


def quantiles_of(values: dict[Any, int]) -> dict[str, Any]:
    """Return each quantile: the smallest value with at least that share of all at or below it (nearest rank)."""
    count = sum(values.values())
    ranks = {name: -(-count * share.numerator // share.denominator) for name, share in QUANTILES.items()}
    found: dict[str, Any] = {}
    below = 0
    for value in sorted(values):
        below += values[value]
        found |= {name: value for name, rank in ranks.items() if name not in found and rank <= below}
    return {name: found[name] for name in QUANTILES}


def middle(bucket: int) -> float:
    """Return the value that is as near to both ends of a bucket, relatively."""
    if bucket < 0:
        return -middle(~bucket)
    low, high = (Fraction(edge_of(edge)) for edge in (bucket, bucket + 1))
    return nearest(2 * low * high / (low + high)) if low else 0.0


def edge_of(bucket: int) -> float:
    """Return the smallest value of a bucket; of the one behind the last, the largest double."""
    edge: float = struct.unpack("<d", struct.pack("<q", bucket << BUCKET_BITS))[0]
    return min(edge, sys.float_info.max)
