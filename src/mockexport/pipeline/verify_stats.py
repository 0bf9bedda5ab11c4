"""Statistics against committed results: verdicts. No input and output here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError
from mockexport.model import parse_time
from mockexport.pipeline.verify import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from mockexport.pipeline.stats import Figures, Statistics

__all__ = ["CommittedStatistics", "compare_statistics", "is_statistics", "read_committed_statistics"]


@dataclass(frozen=True, slots=True)
class CommittedStatistics:
    """Committed statistics, and what they were asked for with: the arguments of `statistics` of these names."""

    patients: Mapping[str, Mapping[str, Figures]]
    totals: Mapping[str, Figures]
    all: Figures
    left_out: Mapping[str, int] = field(default_factory=dict)
    unassigned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    suppressed: int = 0
    now: datetime | None = None
    ranges: Mapping[str, tuple[float | None, float | None]] | None = None
    only: Sequence[str] | None = None
    suppress_below: int = 0


def is_statistics(document: Any) -> bool:
    """Tell whether a JSON document is of `stats`, not of `count`."""
    return isinstance(document, dict) and isinstance(document.get("all"), dict)


def read_committed_statistics(document: Any) -> CommittedStatistics:
    """Read the JSON that `stats` writes (docs/stats.md). Raises UntrustedDataError when it is something else."""
    patients, totals = document.get("patients"), document.get("totals")
    cells = list(patients.values()) if isinstance(patients, dict) else [None]
    if not all(_is_objects(types) for types in cells) or not _is_objects(totals):
        raise UntrustedDataError('it is no result of stats: "patients" and "totals" do not hold figures by type')
    suppressed, left_out = document.get("suppressed", {}), document.get("left_out", {})
    unassigned = document.get("unassigned", {})
    if not isinstance(suppressed, dict) or not isinstance(left_out, dict) or not _is_objects(unassigned):
        raise UntrustedDataError('it is no result of stats: "suppressed", "left_out" or "unassigned" is no object')
    try:
        now = None if "now" not in document else parse_time(document["now"])
    except (TypeError, ValueError) as error:
        raise UntrustedDataError(f'it is no result of stats: "now" is {document["now"]!r}, not a time') from error
    return CommittedStatistics(
        patients, totals, document["all"], left_out, unassigned, suppressed.get("cells", 0), now,
        document.get("ranges"), document.get("only"), suppressed.get("below", 0),
    )  # fmt: skip


def _is_objects(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values())


def compare_statistics(committed: CommittedStatistics, found: Statistics) -> list[Difference]:
    """Return the differences by patient and type, of totals, over all, and of what is in no figure.

    Events in the future are compared only where the committed result says which time it took for the present.
    """
    passed_over = {"future"} if committed.now is None else set()
    differences: list[Difference] = []
    for patient in sorted(committed.patients.keys() | found.patients.keys()):
        expected, actual = committed.patients.get(patient, {}), found.patients.get(patient, {})
        differences += _compare(patient, expected, actual, passed_over)
    differences += _compare(None, committed.totals, found.totals, passed_over)
    for figure, one, other in _unequal(committed.all, found.all, passed_over):
        differences.append(Difference(None, None, one, other, figure=figure))
    for reason, one, other in _unequal(committed.left_out, found.left_out):
        differences.append(Difference(None, None, one, other, left_out=reason))
    for name in sorted(committed.unassigned.keys() | found.unassigned.keys()):
        reasons = _unequal(committed.unassigned.get(name, {}), found.unassigned.get(name, {}))
        differences += [Difference(None, name, one, other, unassigned=reason) for reason, one, other in reasons]
    if committed.suppressed != found.suppressed:
        differences.append(Difference(None, None, committed.suppressed, found.suppressed, figure="suppressed cells"))
    return differences


def _compare(
    patient: str | None, expected: Mapping[str, Figures], actual: Mapping[str, Figures], passed_over: set[str]
) -> Iterator[Difference]:
    for name in sorted(expected.keys() | actual.keys()):
        one, other = expected.get(name), actual.get(name)
        if one is None or other is None:  # the whole of it came or went: its records say so
            this, that = (None if figures is None else figures.get("count") for figures in (one, other))
            yield Difference(patient, name, this, that, figure="count")
            continue
        for figure, this, that in _unequal(one, other, passed_over):
            yield Difference(patient, name, this, that, figure=figure)


def _unequal(
    expected: Mapping[str, Any], actual: Mapping[str, Any], passed_over: set[str] | None = None
) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys((*expected, *actual)):
        if expected.get(name) != actual.get(name) and name not in (passed_over or ()):
            yield name, expected.get(name), actual.get(name)
