"""Counts against committed results."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport import Counts, UntrustedDataError
from mockexport.cli.documents import counts_document
from mockexport.pipeline.verify import Committed, Difference, compare, read_committed

if TYPE_CHECKING:
    from collections.abc import Mapping

Patients = dict[str, dict[str, int]]

names = st.text(alphabet="abcé", min_size=1, max_size=2)
patients_strategy = st.dictionaries(
    names, st.dictionaries(names, st.integers(1, 5), min_size=1, max_size=3), max_size=4
)


def committed(patients: Mapping[str, Mapping[str, int]]) -> Committed:
    return read_committed(orjson.loads(orjson.dumps(counts_document(Counts(patients)))))


@given(patients_strategy)
def test_what_was_counted_matches_itself(patients: Patients) -> None:
    assert compare(committed(patients), Counts(patients)) == []


@given(patients_strategy, patients_strategy)
def test_there_are_no_differences_exactly_when_both_are_the_same(one: Patients, other: Patients) -> None:
    assert (compare(committed(one), Counts(other)) == []) == (one == other)


@given(patients_strategy, patients_strategy)
def test_the_other_way_round_the_same_numbers_differ(one: Patients, other: Patients) -> None:
    there = compare(committed(one), Counts(other))
    back = compare(committed(other), Counts(one))
    assert there == [Difference(d.patient, d.event_type, d.actual, d.expected) for d in back]


@given(patients_strategy, patients_strategy)
def test_differences_are_sorted_with_those_of_the_totals_last(one: Patients, other: Patients) -> None:
    found = compare(committed(one), Counts(other))
    keys = [(d.patient is None, d.patient or "", d.event_type) for d in found]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@given(patients_strategy, patients_strategy)
def test_each_difference_is_what_stands_on_either_side(one: Patients, other: Patients) -> None:
    for found in compare(committed(one), Counts(other)):
        left = Counts(one).totals if found.patient is None else one.get(found.patient, {})
        assert found.event_type is not None
        right = Counts(other).totals if found.patient is None else other.get(found.patient, {})
        assert (found.expected, found.actual) == (left.get(found.event_type), right.get(found.event_type))
        assert found.expected != found.actual


def test_what_is_absent_on_one_side_is_none_there() -> None:
    expected = {"P1": {"x": 2, "gone": 1}, "P9": {"x": 1}}
    actual = {"P1": {"x": 3, "new": 4}, "P2": {"x": 1}}
    assert compare(committed(expected), Counts(actual)) == [
        Difference("P1", "gone", 1, None),
        Difference("P1", "new", None, 4),
        Difference("P1", "x", 2, 3),
        Difference("P2", "x", None, 1),
        Difference("P9", "x", 1, None),
        Difference(None, "gone", 1, None),
        Difference(None, "new", None, 4),
        Difference(None, "x", 3, 4),
    ]


def test_totals_that_do_not_belong_to_the_patients_are_a_difference() -> None:
    forged = read_committed({"patients": {"P1": {"x": 2}}, "totals": {"x": 5}})
    assert compare(forged, Counts({"P1": {"x": 2}})) == [Difference(None, "x", 5, 2)]


def test_other_keys_of_a_committed_result_are_passed_over() -> None:
    document = {"elapsed_seconds": 0.5, "patients": {"P1": {"x": 2}}, "totals": {"x": 2}, "note": None}
    assert read_committed(document) == Committed({"P1": {"x": 2}}, {"x": 2})


def test_rows_left_out_are_compared_by_reason() -> None:
    saved = read_committed({"patients": {}, "totals": {}, "left_out": {"bad quote": 1, "too few fields": 2}})
    assert compare(saved, Counts({}, {"bad quote": 1, "too few fields": 2})) == []
    assert compare(saved, Counts({}, {"bad quote": 3})) == [
        Difference(None, None, 1, 3, "bad quote"),
        Difference(None, None, 2, None, "too few fields"),
    ]


WRONG: list[Any] = [
    None,
    [],
    "text",
    {},
    {"patients": {}},
    {"totals": {}},
    {"patients": [], "totals": {}},
    {"patients": {"P1": []}, "totals": {}},
    {"patients": {"P1": 3}, "totals": {}},
    {"patients": {"P1": {"x": "3"}}, "totals": {"x": 3}},
    {"patients": {"P1": {"x": 3.0}}, "totals": {"x": 3}},
    {"patients": {"P1": {"x": True}}, "totals": {"x": 1}},
    {"patients": {"P1": {"x": None}}, "totals": {}},
    {"patients": {}, "totals": []},
    {"patients": {}, "totals": {"x": "3"}},
    {"patients": {}, "totals": {"x": False}},
    {"patients": {}, "totals": None},
    {"patients": {}, "totals": {}, "left_out": None},
    {"patients": {}, "totals": {}, "left_out": {"bad quote": "1"}},
]


@pytest.mark.parametrize("document", WRONG)
def test_what_is_no_result_of_a_count_is_refused(document: object) -> None:
    with pytest.raises(UntrustedDataError, match="not a result of a count"):
        read_committed(document)


def test_a_difference_can_travel() -> None:
    difference = Difference("P1", "x", None, 4)
    assert pickle.loads(pickle.dumps(difference)) == difference
