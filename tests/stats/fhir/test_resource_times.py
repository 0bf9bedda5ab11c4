"""The times of chosen pairs of FHIR: the native reader is the reference, and both read the rows of the first pass."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.csv_strategies import CUTS, cut
from tests.fhir.resources import bodies
from tests.fhir.test_twins import LIMITS
from tests.seeds import examples
from tests.stats.fhir.conftest import STATS, run
from tests.stats.fhir.observations import observation_rows
from tests.stats.fhir.test_resource_stats_twins import BODIES
from tests.stats.kernels import trace_times

from mockexport.sorting.contract import time_of
from mockexport.stats import ReferenceResourceTimes, choose_resource_times
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

READERS: dict[str, Any] = {"pure": ReferenceResourceTimes}
if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.stats import _fhir_native
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        READERS |= {
            f"native-{name}": partial(_fhir_native.NativeResourceTimes, instructions=name)
            for name in _fhir_native.INSTRUCTION_SETS
        }

LOINC = [f"http://loinc.org|{code}" for code in ("8867-4", "8480-6", "85354-9")]
PAIRS = st.tuples(st.sampled_from(["1", "2", "Zoë"]), st.sampled_from([*LOINC, "Observation", "x"]))
CHOSEN = st.one_of(
    st.just(
        {(who, label): 5 * at + n for at, who in enumerate("12") for n, label in enumerate([*LOINC, "Observation"])}
    ),
    st.dictionaries(PAIRS, st.integers(0, (1 << 32) - 1), max_size=10),
)
ONLY_STRICTLY_WRONG = (
    b'{"resourceType":"Observation","subject":{"reference":"Patient/1"},"code":{"coding":[{"system":"s","code":"x"}]},'
    b'"effectiveDateTime":"2025-08-26","note":[nonsense]}\n'
)
needs_native = pytest.mark.skipif(len(READERS) == 1, reason="the native part was not built, or is not wanted")


@pytest.mark.gate
@examples(150, 20_000)
@given(body=BODIES, numbers=CHOSEN, cuts=CUTS, skip=st.booleans(), limit=LIMITS)
def test_strict_twins_come_to_the_same_on_any_bytes(
    *, body: bytes, numbers: Mapping[tuple[str, str], int], cuts: list[int], skip: bool, limit: int
) -> None:
    options: dict[str, Any] = {"numbers": numbers, "skip": skip, "max_row_bytes": limit, "strict": True}
    chunks = list(cut(body, cuts))
    traces = {name: trace_times(new, chunks, **options) for name, new in READERS.items()}
    assert all(found == traces["pure"] for found in traces.values()), traces


@pytest.mark.gate
@pytest.mark.parametrize("strict", [False, True])
@examples(100, 10_000)
@given(body=st.one_of(BODIES, bodies(observation_rows())), cuts=CUTS, skip=st.booleans())
def test_what_is_read_and_refused_is_that_of_the_first_pass(
    *, strict: bool, body: bytes, cuts: list[int], skip: bool
) -> None:
    for name, new in READERS.items():
        first = run(STATS[name], [body], strict=strict, skip=skip)
        pairs = {} if first.stats is None else first.stats.pairs
        numbers = {pair: number for number, pair in enumerate(pairs)}
        times, records = new(numbers=numbers, strict=strict, skip=skip), b""
        problem = None
        try:
            for chunk in cut(body, cuts):
                times.feed(chunk)
                records += times.take_records()
            times.finish()
            records += times.take_records()
        except Malformed as error:
            problem = str(error)
        assert (problem, times.rows) == (first.problem, first.rows), name
        if problem is None:
            found = [time_of(records[at : at + 12]) for at in range(0, len(records), 12)]
            for pair, stats in pairs.items():
                own = [time for number, time in found if number == numbers[pair]]
                assert len(own) == stats.records - stats.not_a_time, name
                assert own == [] or (min(own), max(own)) == (stats.segments[0].low, stats.segments[0].high)


@needs_native
def test_what_is_wrong_only_strictly_has_times_unless_it_is_strict() -> None:
    numbers = {("1", "s|x"): 3}
    for name, new in READERS.items():
        loose = trace_times(new, [ONLY_STRICTLY_WRONG], numbers=numbers, strict=False)
        strict = trace_times(new, [ONLY_STRICTLY_WRONG], numbers=numbers, strict=True)
        assert "not valid JSON" in strict[0]
        assert loose == strict if name == "pure" else len(loose[0][2]) == 12


@needs_native
def test_the_native_reader_is_chosen_where_it_was_built() -> None:
    assert choose_resource_times("auto") is choose_resource_times("native") is not ReferenceResourceTimes


@needs_native
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "numbers must be given"),
        ({"numbers": 7}, "items"),
        ({"numbers": {("1", "x"): 1 << 32}}, "below 2"),
        ({"numbers": {}, "seed": b"x"}, "seed must be 40 bytes"),
        ({"numbers": {}, "instructions": "mmx"}, "no instruction set 'mmx'"),
        ({"numbers": {}, "max_row_bytes": -1}, "max_row_bytes must be"),
    ],
)
def test_the_native_reader_refuses_what_it_cannot_use(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError, AttributeError), match=problem):
        _fhir_native.NativeResourceTimes(**options)
