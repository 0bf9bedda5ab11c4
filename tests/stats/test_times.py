"""The times of chosen pairs of CSV: the native reader is the reference, and both read the rows of the first pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bodies import MALFORMED, SOUND
from tests.csv_strategies import CUTS, HEADER, LIMITS, bodies, cut
from tests.seeds import examples
from tests.stats.kernels import COLUMNS, NATIVE_TIMES, expected, trace_times
from tests.stats.test_stats_twins import NUMBERS, TIMES, USUAL_TIMES

from mockexport.sorting import time_record
from mockexport.stats import ReferenceTimes, choose_times, parse_event_time

if TYPE_CHECKING:
    from collections.abc import Mapping

needs_native = pytest.mark.skipif(not NATIVE_TIMES, reason="the native part was not built, or is not wanted")
each = pytest.mark.parametrize("new", [ReferenceTimes, *list(NATIVE_TIMES.values())[:1]])

PATIENTS = ["S001", "S002", "P1234567", "a-name-of-16-byt", "a-name-of-17-byte", "Ä", "a"]
TYPES = ["bp_sys", "spo2", "heart_rate", "x" * 16, "x" * 17, "x", "t"]
PAIRS = st.tuples(st.sampled_from(PATIENTS), st.sampled_from(TYPES))
CHOSEN = st.one_of(
    st.just({(patient, name): 7 * at + n for at, patient in enumerate(PATIENTS) for n, name in enumerate(TYPES)}),
    st.dictionaries(PAIRS, st.integers(0, (1 << 32) - 1), max_size=10),
)
ROW = b"P1,2025-08-26T00:00:04.906404Z,x,71\n"
OPTIONS: dict[str, Any] = {"columns": COLUMNS, "numbers": {("P1", "x"): 7}}


@pytest.mark.gate
@needs_native
@examples(150, 8000)
@given(body=bodies(TIMES, NUMBERS), numbers=CHOSEN, cuts=CUTS, skip=st.booleans(), limit=LIMITS)
def test_the_twins_come_to_the_same(
    body: bytes, numbers: Mapping[tuple[str, str], int], cuts: list[int], skip: bool, limit: int
) -> None:
    chunks = list(cut(body, cuts))
    options = {"columns": COLUMNS, "numbers": numbers, "skip": skip, "max_row_bytes": min(limit, (1 << 31) - 1)}
    wanted = trace_times(ReferenceTimes, chunks, **options)
    for name, new in NATIVE_TIMES.items():
        assert trace_times(new, chunks, **options) == wanted, name


@needs_native
@examples(50, 2000)
@given(
    st.lists(st.tuples(st.integers(0, 99), USUAL_TIMES), max_size=200), st.sampled_from(["P{}", "a-long-name-of-{:09}"])
)
def test_usual_rows_of_many_pairs_give_their_records_in_order(found: list[tuple[int, str]], name: str) -> None:
    numbers = {(name.format(n), "x"): n for n in range(0, 100, 2)}
    rows = "".join(f"{name.format(n)},{time},x,1\n" for n, time in found).encode()
    wanted = [(n, parse_event_time(time.encode())) for n, time in found if n % 2 == 0]
    for new in NATIVE_TIMES.values():
        times = new(columns=COLUMNS, numbers=numbers)
        times.feed(HEADER + rows)
        assert times.take_records() == b"".join(time_record(n, time) for n, time in wanted if time is not None)


@each
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("body", [*SOUND.values(), *(bad.body for bad in MALFORMED.values())])
def test_rows_are_read_and_refused_as_in_the_first_pass(new: Any, body: bytes, skip: bool) -> None:
    first = expected([body], skip=skip)
    second = trace_times(new, [body], skip=skip, **OPTIONS)
    assert [told[:2] for told in second if isinstance(told, tuple) and len(told) == 3] == [
        told for told in first if isinstance(told, tuple) and len(told) == 2
    ]
    assert second[-3][0] == first[-1]  # the rows
    problem = first[-2] if isinstance(first[-2], tuple) and len(first[-2]) == 3 else None
    assert second[-4] == (None if problem is None else f"line {problem[1]}: {problem[2]}")


@each
def test_times_before_1970_and_the_ends_of_time_are_records_in_order(new: Any) -> None:
    spelled = [b"0001-01-01", b"1969-12-31T23:59:59.999999Z", b"1970-01-01", b"9999-12-31T23:59:59.999999Z"]
    numbers = {("P1", "x"): (1 << 32) - 1}
    times = new(columns=COLUMNS, numbers=numbers)
    times.feed(HEADER + b"".join(b"P1,%b,x,\n" % time for time in spelled))
    records = times.take_records()
    split = [records[at : at + 12] for at in range(0, len(records), 12)]
    assert split == sorted(split)
    assert split == [time_record((1 << 32) - 1, parse_event_time(time) or 0) for time in spelled]


@each
def test_records_are_taken_once_and_also_after_the_end(new: Any) -> None:
    times = new(**OPTIONS)
    times.feed(HEADER + ROW + ROW.replace(b"P1", b"P2") + ROW[:-1])
    assert times.take_records() == time_record(7, 1_756_166_404_906_404)
    assert times.take_records() == b""
    times.finish()
    assert times.take_records() == time_record(7, 1_756_166_404_906_404)


@each
def test_after_an_error_there_are_no_records_and_nothing_goes_on(new: Any) -> None:
    assert trace_times(new, [HEADER + ROW + b"P1,x\n"], **OPTIONS) == [
        "line 3: too few fields", (2, b""), "has ended", "has ended",
    ]  # fmt: skip


@needs_native
def test_the_native_reader_is_chosen_where_it_was_built() -> None:
    assert choose_times("auto") is choose_times("native") is not ReferenceTimes


@needs_native
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"columns": COLUMNS[:3]}, "columns must be 4 names"),
        ({"delimiter": b"\n"}, "delimiter must not be"),
        ({"instructions": "mmx"}, "no instruction set 'mmx'"),
        ({"max_row_bytes": -1}, "max_row_bytes must be"),
        ({"seed": b"x"}, "seed must be 40 bytes"),
        ({"numbers": {("P1", "x"): 1 << 32}}, "below 2"),
        ({"numbers": {("P1", "x"): -1}}, "negative"),
        ({"numbers": {("P1", "x"): "7"}}, "must be int"),
        ({"numbers": {"P123": 7}}, "length 2"),
        ({"numbers": 7}, "items"),
    ],
)
def test_the_native_reader_refuses_what_it_cannot_use(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError, AttributeError), match=problem):
        next(iter(NATIVE_TIMES.values()))(**OPTIONS | options)


@needs_native
def test_arguments_must_be_given() -> None:
    with pytest.raises(TypeError, match="columns and numbers must be given"):
        next(iter(NATIVE_TIMES.values()))()
