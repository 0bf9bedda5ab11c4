"""Statistics add up: whatever the order and the grouping, they come to the same; and sketches keep their promise."""

from __future__ import annotations

import math
import random
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mockexport.stats import Gaps, PairStats, Segment, Sketch, Stats, gaps_in_order, parse_number, result
from mockexport.stats.figures import deviation, middle, quantiles_of, value_figures
from mockexport.stats.numbers import exact, order
from mockexport.stats.reference import PairBuilder
from mockexport.stats.result import MAX_DISTINCT, NO_VALUES, ValuesSum, bucket_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from mockexport.stats import Number
    from mockexport.stats.result import Values

PATIENTS, TYPES = ["P1", "P2"], ["a", "b"]
numbers = st.builds(lambda m, e: parse_number(f"{m}e{e}".encode()), st.integers(-(10**6), 10**6), st.integers(-6, 6))
times = st.one_of(st.none(), st.integers(-5, 30))
records = st.tuples(st.sampled_from(PATIENTS), st.sampled_from(TYPES), st.one_of(st.none(), numbers), times)


def stats_of(given_records: Sequence[tuple[str, str, Number | None, int | None]]) -> Stats:
    """The statistics of some records that stand in one body."""
    pairs: dict[tuple[str, str], PairBuilder] = {}
    for patient, name, value, time in given_records:
        pairs.setdefault((patient, name), PairBuilder(order((-5, 0)), order((5, 2)), 20)).add(value, time)
    return Stats({pair: builder.built() for pair, builder in pairs.items()}, {"bad quote": 1}, {("a", "no"): 2})


def add_values(one: Values, other: Values) -> Values:
    total = ValuesSum()
    total.add(one)
    total.add(other)
    return total.values


def distinct(start: int, count: int) -> dict[Number, int]:
    """So many values, each once."""
    found = (parse_number(f"{n}.5".encode()) for n in range(start, start + count))
    return {number: 1 for number in found if number}


def in_any_order(stats: Stats) -> Stats:
    """The same, with the segments in an order of their own: they are a bag."""
    return Stats(
        {
            pair: PairStats(
                one.records, one.not_a_number, one.not_a_time, one.anomalies, one.future, one.values,
                tuple(sorted(one.segments, key=lambda s: (s.download, s.begin, s.first))),
            )
            for pair, one in stats.pairs.items()
        },
        stats.left_out,
        stats.unassigned,
    )  # fmt: skip


@given(st.lists(st.lists(records, max_size=12), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_statistics_add_up_in_any_order_and_grouping(parts: list[list[tuple[str, str, Number | None, int | None]]],
                                                     rng: random.Random) -> None:  # fmt: skip
    stats = [stats_of(part).placed(number, 0) for number, part in enumerate(parts)]
    expected = in_any_order(reduce(Stats.__add__, stats, Stats()))
    rng.shuffle(stats)
    while len(stats) > 1:
        at = rng.randrange(len(stats) - 1)
        stats[at : at + 2] = [stats[at] + stats[at + 1]]
    assert in_any_order(Stats() + stats[0]) == expected
    assert sum(pair.records for pair in expected.pairs.values()) == sum(map(len, parts))


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 50)), min_size=1, max_size=5), st.integers(0, 99))
@example([(0, 40), (0, 40)], 0)
@example([(0, 40), (1, 40)], 0)
@example([(0, 50), (0, 0), (0, 3)], 0)
def test_values_become_a_sketch_by_what_they_are_not_by_how_they_were_added(
    ranges: list[tuple[int, int]], seed: int
) -> None:
    parts = [distinct(*one) for one in ranges]
    with patch.object(result, "MAX_DISTINCT", 40):
        expected = reduce(add_values, parts, NO_VALUES)
        random.Random(seed).shuffle(parts)
        grouped = add_values(reduce(add_values, parts[::2], NO_VALUES), reduce(add_values, parts[1::2], NO_VALUES))
        grown = ValuesSum()
        for part in parts:
            grown.add(part)
            _ = grown.values  # a look at it changes nothing
        assert grouped == grown.values == expected
    assert isinstance(expected, Sketch) == (len({number for part in parts for number in part}) > 40)


@given(st.lists(numbers, min_size=1, max_size=60))
def test_a_sketch_is_within_one_per_cent_of_each_quantile(values: list[Number]) -> None:
    in_order = sorted(map(exact, values))
    buckets = quantiles_of(sorted((bucket_of(number), 1) for number in values))
    for share, name in ((1, "p05"), (10, "median"), (19, "p95")):
        rank = math.ceil(len(values) * share / 20)
        true: Fraction = in_order[rank - 1]
        assert abs(middle(buckets[name]) - true) <= abs(true) / 100


@given(st.integers(-323, 308), st.integers(1, 10**17 - 1))
def test_buckets_are_in_the_order_of_the_numbers(exponent: int, mantissa: int) -> None:
    texts = [f"{sign}{mantissa + extra}e{exponent - 17}".encode() for sign in "-+" for extra in (0, 1)]
    found = sorted((number for number in map(parse_number, texts) if number), key=order)
    assert all(bucket_of(one) <= bucket_of(other) for one, other in pairwise(found))


def test_a_sketch_has_exact_sums_and_says_that_its_quantiles_are_approximate() -> None:
    few, many = distinct(0, 4000), distinct(0, 5000)
    exact_figures, sketched = value_figures(few), value_figures(add_values(many, {}))
    assert exact_figures["mean"] == 2000.0
    assert "approximate" not in exact_figures
    assert sketched["approximate"] is True
    assert (sketched["mean"], sketched["min"], sketched["max"]) == (2500.0, 0.5, 4999.5)
    assert sketched["sd"] == math.sqrt(5000 * 5001 / 12)
    assert abs(sketched["median"] - 2499.5) < 25


def test_a_deviation_beyond_all_doubles_is_null() -> None:
    largest = parse_number(b"1.7976931348623157e308")
    assert largest
    figures = value_figures({largest: 1, (-largest[0], largest[1]): 1})
    assert (figures["mean"], figures["sd"]) == (0.0, None)
    assert deviation(exact((4, 0))) == 2.0


def test_tiny_numbers_of_both_signs_are_all_counted() -> None:
    # Next to zero both signs have zero as the middle of their bucket.
    both = [parse_number(text) for text in (b"-1e-320", b"-2e-320", b"1e-320")]
    tiny = {number: 1 for number in both if number}
    figures = value_figures(add_values(tiny, distinct(1, MAX_DISTINCT)))
    assert figures["min"] == -2e-320
    assert figures["median"] > 1000
    assert str(value_figures({(0, 0): 1})["mean"]) == "0.0"


# ---- Gaps ----


def segments_of(parts: Sequence[Sequence[int]]) -> list[Segment]:
    built: list[Segment] = []
    for part in parts:
        builder = PairBuilder(None, None, 0)
        for time in part:
            builder.add(None, time)
        built += builder.built().segments
    return built


def by_sorting(parts: Sequence[Sequence[int]]) -> Gaps:
    in_order = sorted(time for part in parts for time in part)
    gaps = [(other - one, -one) for one, other in pairwise(in_order)]
    if not gaps:
        return Gaps(0, -1, in_order[0])
    longest, start = max(gaps)
    return Gaps(len(in_order) - len(set(in_order)), longest, -start)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=25), st.data())
@example([3, 3], None)
@example([-7], None)
def test_gaps_of_parts_that_follow_each_other_are_those_of_all_times_in_order(
    values: list[int], data: st.DataObject | None
) -> None:
    values.sort()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4))) if data else []
    parts = [values[i:j] for i, j in pairwise([0, *cuts, len(values)]) if i < j]
    if data:
        parts = data.draw(st.permutations(parts))
    assert gaps_in_order(segments_of(parts)) == by_sorting(parts)


@pytest.mark.gate
@given(st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=6), min_size=1, max_size=4))
def test_gaps_that_cannot_be_told_are_never_told_wrong(parts: list[list[int]]) -> None:
    found = gaps_in_order(segments_of(parts))
    assert found in (None, by_sorting(parts))
    sound = all(part == sorted(part) for part in parts)
    bounds = sorted((min(part), max(part)) for part in parts)
    apart = all(one[1] <= other[0] for one, other in pairwise(bounds))
    assert (found is not None) == (sound and apart)


def test_no_times_have_no_gap() -> None:
    assert gaps_in_order([]) == Gaps()
