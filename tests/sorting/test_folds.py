"""The folds of sorted records find what a few lines with lists find, however the records are cut into blocks."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.seeds import examples, rng

from mockexport.sorting import (
    DISTINCT_WIDTH,
    FIRST_REPEATS,
    GAPS_WIDTH,
    DistinctKeys,
    PairTimes,
    Repeat,
    choose_distinct,
    choose_gaps,
    distinct_record,
    time_record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport.sorting import Distinct, Gaps

CUTS = st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any)
FOLDS: list[tuple[Callable[[str], type[Gaps | Distinct]], int]] = [
    (choose_gaps, GAPS_WIDTH),
    (choose_distinct, DISTINCT_WIDTH),
]
either_fold = pytest.mark.parametrize(("choose", "width"), FOLDS, ids=["gaps", "distinct"])


def fold(new: type[Any], records: Sequence[bytes], cuts: Sequence[int]) -> Any:
    """Fold records in blocks of these lengths, in turn."""
    folding, at, turn = new(), 0, 0
    while at < len(records):
        size = cuts[turn % len(cuts)]
        folding.feed(b"".join(records[at : at + size]))
        at, turn = at + size, turn + 1
    return folding.finish()


# ---- The times of pairs ----

EDGES = [-(1 << 63), -1, 0, 1, (1 << 63) - 1]
NUMBERS = st.sampled_from([0, 1, 2, 255, 256, (1 << 32) - 1])
TIMES = st.integers(-5, 5) | st.sampled_from(EDGES) | st.integers(EDGES[0], EDGES[-1])


def times_of_pairs(records: list[tuple[int, int]]) -> dict[int, PairTimes]:
    found = {}
    for number in sorted({number for number, _ in records}):
        times = sorted(time for of, time in records if of == number)
        gaps = [(later - time, time) for time, later in pairwise(times)]
        longest, start = min(gaps, key=lambda gap: (-gap[0], gap[1]), default=(0, times[0]))
        found[number] = PairTimes(len(times), len(times) - len(set(times)), longest, start)
    return found


@pytest.mark.gate
@given(st.lists(st.tuples(NUMBERS, TIMES), max_size=60), CUTS)
@examples(200, 5000)
def test_gaps_are_those_of_the_times_in_order(kernel: str, records: list[tuple[int, int]], cuts: list[int]) -> None:
    packed = sorted(time_record(number, time) for number, time in records)
    assert fold(choose_gaps(kernel), packed, cuts) == times_of_pairs(records)


def test_of_equal_gaps_the_earliest_counts_and_a_single_time_is_0_from_itself(kernel: str) -> None:
    records = [time_record(7, time) for time in (-30, -20, -20, -10, 0)] + [time_record(9, 5)]
    found = fold(choose_gaps(kernel), records, [2])
    assert found == {7: PairTimes(5, 1, 10, -30), 9: PairTimes(1, 0, 0, 5)}
    assert list(found) == [7, 9]


def test_many_pairs_are_folded(kernel: str) -> None:
    records = [time_record(number, time) for number in range(5000) for time in (number, number + 3)]
    assert fold(choose_gaps(kernel), records, [1000]) == {n: PairTimes(2, 0, 3, n) for n in range(5000)}


# ---- Distinct keys ----

KEYS = st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16, b"k" * 16])
LAST_DOWNLOAD, LAST_LINE = (1 << 24) - 1, (1 << 40) - 1
DOWNLOADS = st.integers(0, 4) | st.sampled_from([255, 256, 70_000])
LINES = st.integers(1, 9) | st.sampled_from([0, 255, 256, LAST_LINE]) | st.integers(0, LAST_LINE)


def distinct_keys(records: list[tuple[bytes, int, int]]) -> DistinctKeys:
    """Put the places of each key, and of each key and download, in order: all but the first of each are repeats."""
    within, across = [], []
    for key in {key for key, _, _ in records}:
        firsts = []
        for download in sorted({download for of, download, _ in records if of == key}):
            lines = sorted(line for of, there, line in records if (of, there) == (key, download))
            within += [Repeat(download, line, download, lines[0]) for line in lines[1:]]
            firsts.append((download, lines[0]))
        across += [Repeat(*place, *firsts[0]) for place in firsts[1:]]
    return DistinctKeys(
        len({key for key, _, _ in records}),
        Counter(repeat.download for repeat in within),
        Counter(repeat.download for repeat in across),
        tuple(sorted(within)[:FIRST_REPEATS]),
        tuple(sorted(across)[:FIRST_REPEATS]),
    )


@pytest.mark.gate
@given(st.lists(st.tuples(KEYS, DOWNLOADS, LINES), max_size=80), CUTS)
@examples(200, 5000)
def test_repeats_are_those_of_the_keys_places(
    kernel: str, records: list[tuple[bytes, int, int]], cuts: list[int]
) -> None:
    packed = sorted(distinct_record(*record) for record in records)
    assert fold(choose_distinct(kernel), packed, cuts) == distinct_keys(records)


def test_a_repeat_within_a_download_and_one_across_are_told_with_what_they_repeat(kernel: str) -> None:
    one, other = b"1" * 16, b"2" * 16
    places = [(one, 0, 7), (one, 0, 9), (one, 3, 1), (one, 3, 2), (one, LAST_DOWNLOAD, LAST_LINE), (other, 3, 3)]
    assert fold(choose_distinct(kernel), [distinct_record(*place) for place in places], [4]) == DistinctKeys(
        keys=2,
        within={0: 1, 3: 1},
        across={3: 1, LAST_DOWNLOAD: 1},
        first_within=(Repeat(0, 9, 0, 7), Repeat(3, 2, 3, 1)),
        first_across=(Repeat(3, 1, 0, 7), Repeat(LAST_DOWNLOAD, LAST_LINE, 0, 7)),
    )


def test_of_very_many_repeats_the_first_places_are_kept_whatever_their_keys(kernel: str) -> None:
    draw = rng("first places")
    records = [(draw.choice([b"a", b"b", b"c"]) * 16, draw.randrange(9), draw.randrange(10**6)) for _ in range(5000)]
    packed = sorted(distinct_record(*record) for record in records)
    assert fold(choose_distinct(kernel), packed, [700]) == distinct_keys(records)


# ---- Both ----


@either_fold
def test_no_records_are_folded_to_nothing(choose: Any, width: int, kernel: str) -> None:
    del width
    folding = choose(kernel)()
    folding.feed(b"")
    assert folding.finish() in ({}, DistinctKeys())


@either_fold
def test_records_out_of_order_are_refused_within_a_block_and_between_two(choose: Any, width: int, kernel: str) -> None:
    low, high, highest = bytes(width), bytes(width - 1) + b"\1", b"\1" + bytes(width - 1)
    for before, block in ((b"", high + low), (high, low), (low + high, low + high), (highest, high)):
        folding = choose(kernel)()
        folding.feed(before)
        with pytest.raises(ValueError, match="not in order"):
            folding.feed(block)


@either_fold
def test_half_a_record_is_refused_by_folds(choose: Any, width: int, kernel: str) -> None:
    folding = choose(kernel)()
    for size in (1, width - 1, width + 1):
        with pytest.raises(ValueError, match=f"whole number of records of {width} bytes"):
            folding.feed(bytes(size))
    folding.feed(bytes(2 * width))


@either_fold
def test_a_fold_ends_once(choose: Any, width: int, kernel: str) -> None:
    folding = choose(kernel)()
    folding.finish()
    for use in (folding.finish, lambda: folding.feed(bytes(width))):
        with pytest.raises(ValueError, match="this fold has ended"):
            use()


@pytest.mark.skipif("native" not in KERNELS, reason="the native part was not built")
@either_fold
def test_two_threads_in_one_fold_at_a_time_are_refused(choose: Any, width: int) -> None:
    folding = choose("native")()
    block = bytes(width) * 500_000
    refusals: list[str] = []

    def feed() -> None:
        for _ in range(500):
            if refusals:
                break
            try:
                folding.feed(block)
            except RuntimeError as error:
                refusals.append(str(error))

    workers = [threading.Thread(target=feed) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(refusals) == {"this fold is in use by another thread"}
