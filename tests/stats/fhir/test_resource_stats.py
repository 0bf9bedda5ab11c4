"""The statistics of Observations are those of an independent reader, however they are written and cut."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import KERNELS
from tests.csv_strategies import CUTS, cut
from tests.fhir.resources import bodies
from tests.seeds import examples
from tests.stats.fhir.conftest import NOW, STATS, Outcome, run
from tests.stats.fhir.observations import observation_rows, statistics

from mockexport.sources.mock import MockFhirSource, MockSource
from mockexport.stats import PairStats, Stats, StatsSpec, parse_event_time

BASE = "https://ehr.example/fhir"
LOINC = {"heart_rate": "8867-4", "spo2": "59408-5", "bp_sys": "8480-6", "bp_dia": "8462-4"}


@pytest.mark.gate
@examples(150, 5_000)
@given(body=bodies(observation_rows()), cuts=CUTS, base=st.sampled_from([None, BASE]))
def test_statistics_are_those_of_an_independent_reader(*, body: bytes, cuts: list[int], base: str | None) -> None:
    expected = statistics(body, NOW, base)
    rows = sum(bool(line.strip(b" \t\r")) for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    for name, strict in product(STATS, [False, True]):
        assert run(STATS[name], cut(body, cuts), base=base, strict=strict) == Outcome(expected, rows, None), name


# ---- One Observation ----

CODE = b'"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"},{"code":"x"}],"text":"pulse"}'
START = b'{"resourceType":"Observation","subject":{"reference":"Patient/1"},' + CODE
TIME = "2025-08-26T00:00:04.906404Z"
HEART_RATE = "http://loinc.org|8867-4"


def records(new_stats: Any, rest: bytes) -> dict[str, PairStats]:
    """Return what is found in an Observation with these members, by type."""
    outcome = run(new_stats, [START + b"," + rest + b"}"])
    assert outcome.problem is None
    return {label: stats for (_, label), stats in outcome.stats.pairs.items()} if outcome.stats else {}


@pytest.mark.parametrize(
    ("rest", "values"),
    [
        (b'"valueQuantity":{"value":71}', {HEART_RATE: {(71, 0): 1}}),
        (b'"valueQuantity":{"unit":"/min","value":-7.10e1}', {HEART_RATE: {(-71, 0): 1}}),
        (b'"valueQuantity":{"value":"71"}', {HEART_RATE: {}}),
        (b'"valueQuantity":{"value":1e400}', {HEART_RATE: {}}),
        (b'"valueQuantity":{}', {HEART_RATE: {}}),
        (b'"valueQuantity":71', {HEART_RATE: {}}),
        (b'"valueString":"71"', {HEART_RATE: {}}),
        (b'"component":[]', {HEART_RATE: {}}),
        (b'"component":[{"code":{"text":"a"},"valueQuantity":{"value":1}}]', {"text:a": {(1, 0): 1}}),
        (b'"component":{"code":{"text":"a"},"valueQuantity":{"value":1}}', {"text:a": {(1, 0): 1}}),
        (b'"component":[{"code":{"text":"a"},"valueString":"x"}]', {"text:a": {}}),
        (b'"component":[{"valueQuantity":{"value":1}},{}]', {"Observation": {(1, 0): 1}}),
        (
            b'"component":[{"code":{"text":"a"},"valueQuantity":{"value":1}},7],"valueQuantity":{"value":2}',
            {HEART_RATE: {(2, 0): 1}, "text:a": {(1, 0): 1}},
        ),
    ],
)
def test_a_quantity_and_each_component_is_a_record(
    new_stats: Any, rest: bytes, values: dict[str, dict[tuple[int, int], int]]
) -> None:
    assert {label: stats.values for label, stats in records(new_stats, rest).items()} == values


@pytest.mark.parametrize(
    ("rest", "time"),
    [
        (b'"effectiveDateTime":"%b"', TIME),
        (b'"effectiveInstant":"%b"', TIME),
        (b'"effectivePeriod":{"end":"2030","start":"%b"}', TIME),
        (b'"effectivePeriod":{"start":"2030"},"effectiveInstant":"2031","effectiveDateTime":"%b"', TIME),
        (b'"effectivePeriod":{"start":"2030"},"effectiveInstant":"%b","effectiveDateTime":7', TIME),
        (b'"effectivePeriod":{"start":"%b"},"effectiveInstant":"","effectiveDateTime":null', TIME),
        (b'"effectiveDateTime":"\\u003%b"', "2" + TIME[1:]),
        (b'"effectiveDateTime":"x%b","effectiveInstant":"2030"', None),
        (b'"effectivePeriod":["%b"],"effectiveTiming":{}', None),
        (b'"issued":"%b"', None),
    ],
)
def test_the_time_is_the_first_that_is_there(new_stats: Any, rest: bytes, time: str | None) -> None:
    (stats,) = records(new_stats, rest % TIME.encode()).values()
    assert stats.not_a_time == (time is None)
    assert [part.first for part in stats.segments] == ([] if time is None else [parse_event_time(time.encode())])


@pytest.mark.parametrize(
    "rest",
    [
        b'"code":{}',
        b'"valueQuantity":{},"valueQuantity":{}',
        b'"valueQuantity":{"value":1,"v\\u0061lue":1}',
        b'"component":[],"component":[]',
        b'"component":[{},{"code":{},"code":{}}]',
        b'"component":[{"code":{"text":"a","text":"a"}}]',
        b'"component":[{"valueQuantity":{},"valueQuantity":{}}]',
        b'"component":[{"valueQuantity":{"value":1}},{"valueQuantity":{"value":1,"value":1}}]',
        b'"effectiveDateTime":"2025","effectiveDateTime":"2025"',
        b'"effectiveInstant":"2025","effectiveInstant":"2025"',
        b'"effectivePeriod":{},"effectivePeriod":{}',
        b'"effectivePeriod":{"start":"2025","start":"2025"}',
    ],
)
def test_a_key_that_is_read_must_not_stand_twice(new_stats: Any, rest: bytes) -> None:
    body = START + b"}\n" + START + b"," + rest + b"}\n"
    assert run(new_stats, [body]).problem == "line 2: a key stands twice"
    outcome = run(new_stats, [body], skip=True)
    assert outcome.stats is not None
    assert outcome.stats.left_out == {"a key stands twice": 1}
    assert {pair: stats.records for pair, stats in outcome.stats.pairs.items()} == {("1", HEART_RATE): 1}


@pytest.mark.parametrize(
    "rest",
    [
        b'"effectiveDateTime":"2025","effectiveInstant":1,"effectiveInstant":2,"effectivePeriod":1,"effectivePeriod":2',
        b'"component":[{"value":1,"value":2}],"value":1,"value":2,"unit":1,"unit":2',
        b'"effectivePeriod":{"end":1,"end":2},"valueQuantity":{"unit":1,"unit":2}',
    ],
)
def test_a_key_that_is_not_read_may_stand_twice(new_stats: Any, rest: bytes) -> None:
    assert sum(stats.records for stats in records(new_stats, rest).values()) == 1


def test_half_a_surrogate_pair_in_a_time_or_in_the_code_of_a_component_is_no_unicode(new_stats: Any) -> None:
    for rest in (b'"effectiveDateTime":"\\ud800"', b'"component":[{"code":{"text":"\\udc00"}}]'):
        assert run(new_stats, [START + b"," + rest + b"}"]).problem == "line 1: a text is not Unicode"


@pytest.mark.parametrize(
    "rest",
    [b'"valueQuantity":{"value":01}', b'"component":[{"x":nul}]', b'"effectivePeriod":{"start":"2025",}',
     b'"effectiveDateTime":"2025\\x"'],
)  # fmt: skip
def test_values_that_are_read_are_always_checked(new_stats: Any, rest: bytes) -> None:
    assert run(new_stats, [START + b"," + rest + b"}"]).problem == "line 1: not valid JSON"


def test_records_without_a_patient_are_counted_by_type_and_reason(new_stats: Any) -> None:
    row = b'{"resourceType":"Observation","subject":{"reference":"Group/1"},"component":[{"code":"a"},{"code":"b"},{}]}'
    other = b'{"resourceType":"Condition","code":"c"}\n{"resourceType":"Organization"}'
    outcome = run(new_stats, [row + b"\n" + row + b"\n" + other])
    expected = {("a", "not-a-patient"): 2, ("b", "not-a-patient"): 2, ("Observation", "not-a-patient"): 2}
    assert outcome == Outcome(Stats({}, {}, expected), 4, None)


def test_more_pairs_than_the_limit_end_it_and_unassigned_ones_count(new_stats: Any) -> None:
    rows = [START + b"}", START.replace(b"8867-4", b"8480-6") + b"}", START.replace(b"subject", b"x") + b"}"]
    assert run(new_stats, [b"\n".join(rows)], max_pairs=3).problem is None
    problem = run(new_stats, [b"\n".join(rows)], max_pairs=2).problem
    assert problem == "line 3: more than 2 distinct pairs of patient and type"


def test_an_accumulator_has_ended_after_its_end_and_after_an_error(new_stats: Any) -> None:
    ended, failed = (new_stats(ranges={}, now=0) for _ in range(2))
    ended.finish()
    with pytest.raises(Exception, match="line 1: not a JSON object"):
        failed.feed(b"x\n")
    for accumulator in (ended, failed):
        with pytest.raises(ValueError, match="has ended"):
            accumulator.feed(b"")
        with pytest.raises(ValueError, match="has ended"):
            accumulator.finish()


# ---- An export ----


def statistics_of_demo(source: MockSource, kernel: str) -> Stats:
    """Return the statistics of the export `demo`, whose last downloads have the records."""
    total, spec = Stats(), StatsSpec(NOW, kernel)
    for number, download in enumerate(reversed(source.downloads("demo"))):
        accumulator = spec.of(download).new()
        for chunk in source.open(download):
            accumulator.feed(chunk)
        total += accumulator.finish().placed(number, 0)
    return total


@pytest.mark.gate
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_export_has_the_same_statistics_in_both_formats(kernel: str) -> None:
    as_csv = statistics_of_demo(MockSource(), "pure")
    expected = {(who, f"http://loinc.org|{LOINC[kind]}"): stats for (who, kind), stats in as_csv.pairs.items()}
    assert statistics_of_demo(MockFhirSource(), kernel).pairs == expected
    assert sum(stats.anomalies for stats in expected.values()) > 0
