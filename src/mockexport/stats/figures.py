"""From sums to figures: what is shown of the records of a patient and type, of a type, and of all."""

from __future__ import annotations

import struct
import sys
from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from mockexport.stats.numbers import exact, nearest, nearest_sqrt, order
from mockexport.stats.result import BUCKET_BITS, NO_VALUES, PairSum, Sketch, sums_of
from mockexport.stats.times import text_of_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mockexport.stats.result import PairStats, Segment, Values

__all__ = ["FLAWS", "Gaps", "TimeFigures", "badness", "gaps_in_order", "pair_figures", "time_figures", "total_figures"]

T = TypeVar("T")
SECOND = 1_000_000
FLAWS = {
    "not_a_number": "without a number",
    "not_a_time": "without a time",
    "duplicates": "at the same time again",
    "out_of_order": "out of order in their file",
    "future": "in the future",
}
"""The figures that count records which would better not be there, and what such records are."""
QUANTILES = {"p05": Fraction(1, 20), "median": Fraction(1, 2), "p95": Fraction(19, 20)}


@dataclass(frozen=True, slots=True)
class Gaps:
    """The times of a pair in time order: how many are there again, and the longest time between two, and its start.

    A single time has no time between two: `longest` is -1, and `start` is of no meaning.
    """

    duplicates: int = 0
    longest: int = -1
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
    if not parts:
        return Gaps()
    if any(part.out_of_order for part in parts) or any(one.high > other.low for one, other in pairwise(parts)):
        return None
    gaps = [(part.gap, part.gap_start) for part in parts]
    gaps += [(other.low - one.high, one.high) for one, other in pairwise(parts)]
    duplicates = sum(part.duplicates for part in parts) + sum(one.high == other.low for one, other in pairwise(parts))
    longest, start = min(gaps, key=lambda gap: (-gap[0], gap[1]))
    if longest:
        return Gaps(duplicates, longest, start)
    return Gaps(duplicates, 0 if duplicates else -1, parts[0].low)  # all times are the same, or there is one


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
    gaps = times.gaps if times and times.intervals else None
    return figures | {
        "first": times and text_of_time(times.first),
        "last": times and text_of_time(times.last),
        "longest_gap": gaps and gaps.longest / SECOND,
        "longest_gap_start": gaps and text_of_time(gaps.start),
        "duplicates": times.gaps.duplicates if times else 0,
        "out_of_order": times.out_of_order if times else 0,
        "future": stats.future,
    }


def total_figures(parts: Sequence[tuple[PairStats, TimeFigures | None]], *, of_one_type: bool) -> dict[str, Any]:
    """Return the figures of several pairs together; those of their values make sense for `of_one_type` alone."""
    total = PairSum()
    times: TimeFigures | None = None
    for stats, of_times in parts:
        total.add(replace(stats, values=stats.values if of_one_type else NO_VALUES, segments=()))
        times = times + of_times if times and of_times else times or of_times
    figures = pair_figures(total.stats, times)
    return figures if of_one_type else {name: figure for name, figure in figures.items() if name not in OF_VALUES}


def badness(figures: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return what pairs are sorted by, the worst first: by anomalies, values that are no numbers, and longest gap."""
    return -figures["anomalies"], -figures["not_a_number"], -(figures["longest_gap"] or 0)


OF_VALUES = {"mean", "min", "max", "sd", *QUANTILES, "approximate"}


def value_figures(values: Values) -> dict[str, Any]:
    """Return the figures of numbers; they are rounded once, to the nearest double, half to even."""
    if not values:
        return dict.fromkeys(("mean", "min", "max", "sd", *QUANTILES))
    if isinstance(values, Sketch):
        low, high, sums = nearest(values.low), nearest(values.high), values.sums
        count = sum(values.buckets.values())
        buckets = quantiles_of(sorted(values.buckets.items()))
        quantiles: dict[str, Any] = {name: min(max(middle(b), low), high) for name, b in buckets.items()}
        quantiles["approximate"] = True
    else:
        in_order = sorted(values.items(), key=lambda found: order(found[0]))
        low, high, sums = nearest(in_order[0][0]), nearest(in_order[-1][0]), sums_of(values)
        count = sum(values.values())
        quantiles = {name: nearest(number) for name, number in quantiles_of(in_order).items()}
    total = sum((exact((one, e)) for e, (one, _) in sums.items()), Fraction(0))
    squares = sum((exact((square, 2 * e)) for e, (_, square) in sums.items()), Fraction(0))
    variance = (squares - total * total / count) / (count - 1) if count > 1 else None
    return {
        "mean": nearest(total / count),
        "min": low,
        "max": high,
        "sd": None if variance is None else deviation(variance),
        **quantiles,
    }


def deviation(variance: Fraction) -> float | None:
    """Return the standard deviation; None where it is larger than every double."""
    try:
        return nearest_sqrt(variance)
    except OverflowError:
        return None


def quantiles_of(in_order: Sequence[tuple[T, int]]) -> dict[str, T]:
    """Return each quantile: the smallest value with at least that share of all at or below it (nearest rank).

    The values are in their order, each with how often it is there.
    """
    below = list(accumulate(times for _, times in in_order))
    return {
        name: in_order[bisect_left(below, -(-below[-1] * share.numerator // share.denominator))][0]
        for name, share in QUANTILES.items()
    }


def middle(bucket: int) -> float:
    """Return the value that is as near to both ends of a bucket, relatively."""
    if bucket < 0:
        return 0.0 - middle(~bucket)  # zero, not minus zero
    low, high = (Fraction(edge_of(edge)) for edge in (bucket, bucket + 1))
    return nearest(2 * low * high / (low + high)) if low else 0.0


def edge_of(bucket: int) -> float:
    """Return the smallest value of a bucket; of the one behind the last, the largest double."""
    edge: float = struct.unpack("<d", struct.pack("<q", bucket << BUCKET_BITS))[0]
    return min(edge, sys.float_info.max)
