"""Counts against committed results: verdicts. No input and output here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mockexport.model import Counts

__all__ = ["Committed", "Difference", "compare", "read_committed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that is not as committed; None is absent.

    Without a patient, it is the total of an event type, the number of rows left out for the reason `left_out`, or the
    number of resources of a type without a patient for the reason `unassigned`. Of statistics, `figure` says which one
    it is: of a patient and type, of a type, or without both over all.
    """

    patient: str | None
    event_type: str | None
    expected: float | str | bool | None
    actual: float | str | bool | None
    left_out: str | None = None
    unassigned: str | None = None
    figure: str | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed result: records by patient and event type, in all by event type, and rows left out by reason.

    `unassigned` has the FHIR resources without a patient, by type and reason.
    """

    patients: Mapping[str, Mapping[str, int]]
    totals: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    unassigned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def read_committed(document: Any) -> Committed:
    """Read the JSON that `count` writes (docs/cli.md, "Counts"); other keys than these are passed over.

    Raises UntrustedDataError when it is something else.
    """
    if not isinstance(document, dict):
        raise UntrustedDataError("it is not a result of a count: not a JSON object")
    patients: Any = document.get("patients")
    totals: Any = document.get("totals")
    if not isinstance(patients, dict) or not all(_is_numbers(types) for types in patients.values()):
        raise UntrustedDataError(
            'it is not a result of a count: "patients" does not hold numbers by patient and event type'
        )
    if not _is_numbers(totals):
        raise UntrustedDataError('it is not a result of a count: "totals" does not hold numbers by event type')
    left_out: Any = document.get("left_out", {})
    if not _is_numbers(left_out):
        raise UntrustedDataError('it is not a result of a count: "left_out" does not hold numbers by reason')
    unassigned: Any = document.get("unassigned", {})
    if not isinstance(unassigned, dict) or not all(_is_numbers(reasons) for reasons in unassigned.values()):
        raise UntrustedDataError('it is not a result of a count: "unassigned" does not hold numbers by type and reason')
    return Committed(patients, totals, left_out, unassigned)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(n, int) and not isinstance(n, bool) for n in value.values())


def compare(committed: Committed, counts: Counts) -> list[Difference]:
    """Return the differences by patient and type, of totals, of rows left out and of resources without a patient."""
    differences = []
    for patient in sorted(committed.patients.keys() | counts.patients.keys()):
        differences += _compare(patient, committed.patients.get(patient, {}), counts.patients.get(patient, {}))
    differences += _compare(None, committed.totals, counts.totals)
    differences += [
        Difference(None, None, expected, actual, reason)
        for reason, expected, actual in _unequal(committed.left_out, counts.left_out)
    ]
    return differences + [
        Difference(None, event_type, expected, actual, unassigned=reason)
        for event_type in sorted(committed.unassigned.keys() | counts.unassigned.keys())
        for reason, expected, actual in _unequal(
            committed.unassigned.get(event_type, {}), counts.unassigned.get(event_type, {})
        )
    ]


def _compare(patient: str | None, expected: Mapping[str, int], actual: Mapping[str, int]) -> list[Difference]:
    return [
        Difference(patient, event_type, expected_number, actual_number)
        for event_type, expected_number, actual_number in _unequal(expected, actual)
    ]


def _unequal(expected: Mapping[str, int], actual: Mapping[str, int]) -> Iterator[tuple[str, int | None, int | None]]:
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            yield name, expected.get(name), actual.get(name)
