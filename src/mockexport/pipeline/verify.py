"""Counts against committed results: verdicts. No input and output here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.model import Counts

__all__ = ["Committed", "Difference", "compare", "read_committed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that is not as committed; None is absent. Without a patient, it is the total of an event type."""

    patient: str | None
    event_type: str
    expected: int | None
    actual: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """A committed result: records by patient and event type, and in all by event type."""

    patients: Mapping[str, Mapping[str, int]]
    totals: Mapping[str, int]


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
    return Committed(patients, totals)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(n, int) and not isinstance(n, bool) for n in value.values())


def compare(committed: Committed, counts: Counts) -> list[Difference]:
    """Return the differences, in the order of patient and event type, those of the totals last."""
    differences = []
    for patient in sorted(committed.patients.keys() | counts.patients.keys()):
        differences += _compare(patient, committed.patients.get(patient, {}), counts.patients.get(patient, {}))
    return differences + _compare(None, committed.totals, counts.totals)


def _compare(patient: str | None, expected: Mapping[str, int], actual: Mapping[str, int]) -> list[Difference]:
    return [
        Difference(patient, event_type, expected.get(event_type), actual.get(event_type))
        for event_type in sorted(expected.keys() | actual.keys())
        if expected.get(event_type) != actual.get(event_type)
    ]
