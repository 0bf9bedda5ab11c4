"""What statistics are made of: sums that add up, exactly, whatever the split, the order and the grouping.

The figures that a user sees are worked out of them once, at the end (figures.py).
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from mockexport.stats.numbers import Number, nearest, order

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_DISTINCT",
    "NO_VALUES",
    "Pair",
    "PairStats",
    "PairSum",
    "Segment",
    "Sketch",
    "Stats",
    "Values",
    "ValuesSum",
    "bucket_of",
    "sums_of",
]

T = TypeVar("T")
MAX_DISTINCT = 4096
"""How many distinct values are kept one by one; more of them become a sketch."""

BUCKET_BITS = 52 - 6  # of a double's 52 bits of fraction, all but the first 6 are dropped: 64 buckets an octave

Pair: TypeAlias = tuple[str, str]
"""A patient and a type."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Many values: their exact sums, and how many are in each bucket.

    `sums` has, by exponent, the sum of the mantissas and that of their squares. `low` and `high` are the smallest and
    the largest value. The buckets are those of a DDSketch with the linearly interpolated logarithm (Masson, Rim and
    Lee, 2019): 64 to an octave, so that the middle of a bucket is within 1/129 of each of its values. That holds for
    normal doubles, from 2.3e-308 on; what is nearer to zero has fewer buckets.
    """

    sums: Mapping[int, tuple[int, int]]
    low: Number
    high: Number
    buckets: Mapping[int, int]


Values: TypeAlias = "Mapping[Number, int] | Sketch"
"""The numbers of a pair, with how often each is there; a sketch of them where more than `MAX_DISTINCT` are distinct."""

NO_VALUES: Values = {}


@dataclass(frozen=True, slots=True)
class Segment:
    """The times of a pair in one part of the export that was read in order: a download, or a split of one.

    `download` is its number in the export, `begin` the first byte of the part. Times are in microseconds since 1970:
    `first` and `last` as they stand in the part, `low` and `high` the earliest and the latest. `out_of_order` counts
    those that are earlier than the one before them. If none is, `duplicates` counts those that are equal to the one
    before, and `gap` is the longest time between two, which begins at `gap_start`, the first such one; else these three
    are 0.
    """

    download: int
    begin: int
    first: int
    last: int
    low: int
    high: int
    out_of_order: int = 0
    duplicates: int = 0
    gap: int = 0
    gap_start: int = 0


@dataclass(frozen=True, slots=True)
class PairStats:
    """The records of one patient and type.

    `records` counts all; of these, `not_a_number` have no number (numbers.py), `not_a_time` no time (times.py),
    `anomalies` a number outside the type's range, and `future` a time later than that of the run. `values` has the
    numbers, `segments` the times.
    """

    records: int = 0
    not_a_number: int = 0
    not_a_time: int = 0
    anomalies: int = 0
    future: int = 0
    values: Values = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()

    def __add__(self, other: PairStats) -> PairStats:
        total = PairSum()
        total.add(self)
        total.add(other)
        return total.stats


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics by patient and type; with it, malformed rows left out by reason, as `Counts` has them.

    `unassigned` counts what is of no patient, by type and reason: it is in no other figure.
    """

    pairs: Mapping[Pair, PairStats] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    unassigned: Mapping[Pair, int] = field(default_factory=dict)

    def __add__(self, other: Stats) -> Stats:
        pairs = dict(self.pairs)
        for pair, stats in other.pairs.items():
            pairs[pair] = pairs[pair] + stats if pair in pairs else stats
        return Stats(
            pairs,
            Counter(self.left_out) + Counter(other.left_out),
            Counter(self.unassigned) + Counter(other.unassigned),
        )

    def placed(self, download: int, begin: int) -> Stats:
        """Return the same, of the part of this download that begins at this byte."""
        return replace(self, pairs={
            pair: replace(stats, segments=tuple(replace(s, download=download, begin=begin) for s in stats.segments))
            for pair, stats in self.pairs.items()
        })  # fmt: skip


class ValuesSum:
    """A sum of numbers that grows, in place: what it comes to depends neither on the order nor on the grouping."""

    __slots__ = ("_buckets", "_ends", "_numbers", "_sums")

    def __init__(self) -> None:
        self._numbers: dict[Number, int] = {}  # those that are not in the sketch
        self._sums: dict[int, tuple[int, int]] = {}
        self._buckets: dict[int, int] = {}
        self._ends: tuple[Number, Number] | None = None  # None while there is no sketch

    def add(self, values: Values) -> None:
        """Add the numbers of a part."""
        if isinstance(values, Sketch):
            self._add_sketch(values)
            return
        add_times(self._numbers, values)
        if len(self._numbers) > MAX_DISTINCT:
            self._sketch_numbers()

    @property
    def values(self) -> Values:
        """What the sum is."""
        if self._ends is None:
            return dict(self._numbers)
        self._sketch_numbers()
        return Sketch(dict(self._sums), *self._ends, dict(self._buckets))

    def _sketch_numbers(self) -> None:
        if self._numbers:
            self._add_sketch(sketch_of(self._numbers))
            self._numbers.clear()

    def _add_sketch(self, sketch: Sketch) -> None:
        for exponent, (one, square) in sketch.sums.items():
            known = self._sums.get(exponent, (0, 0))
            self._sums[exponent] = known[0] + one, known[1] + square
        add_times(self._buckets, sketch.buckets)
        low, high = self._ends or (sketch.low, sketch.high)
        self._ends = min(low, sketch.low, key=order), max(high, sketch.high, key=order)


class PairSum:
    """The sum of the statistics of a pair, or of several, that grows in place."""

    __slots__ = ("_counts", "_segments", "_values")

    def __init__(self) -> None:
        self._counts = (0, 0, 0, 0, 0)
        self._values = ValuesSum()
        self._segments: list[Segment] = []

    def add(self, part: PairStats) -> None:
        """Add the statistics of a part."""
        records, not_a_number, not_a_time, anomalies, future = self._counts
        self._counts = (
            records + part.records,
            not_a_number + part.not_a_number,
            not_a_time + part.not_a_time,
            anomalies + part.anomalies,
            future + part.future,
        )
        self._values.add(part.values)
        self._segments += part.segments

    @property
    def stats(self) -> PairStats:
        """What the sum is."""
        return PairStats(*self._counts, self._values.values, tuple(self._segments))


def add_times(known: dict[T, int], more: Mapping[T, int]) -> None:
    """Add how often each is there."""
    for name, times in more.items():
        known[name] = known.get(name, 0) + times


def sketch_of(numbers: Mapping[Number, int]) -> Sketch:
    """Return the sketch of numbers, at least one."""
    buckets: Counter[int] = Counter()
    for number, times in numbers.items():
        buckets[bucket_of(number)] += times
    return Sketch(sums_of(numbers), min(numbers, key=order), max(numbers, key=order), dict(buckets))


def sums_of(numbers: Mapping[Number, int]) -> dict[int, tuple[int, int]]:
    """Return, by exponent, the sum of the mantissas and that of their squares."""
    sums: dict[int, tuple[int, int]] = {}
    for (mantissa, exponent), times in numbers.items():
        one, square = sums.get(exponent, (0, 0))
        sums[exponent] = one + mantissa * times, square + mantissa * mantissa * times
    return sums


def bucket_of(number: Number) -> int:
    """Return the bucket of a number: in the same order as the numbers, and negative for negative ones."""
    bits: int = struct.unpack("<q", struct.pack("<d", abs(nearest(number))))[0]
    return ~(bits >> BUCKET_BITS) if number[0] < 0 else bits >> BUCKET_BITS
