"""Statistics against committed results: verdicts. No input and output here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.model import parse_time
from mockexport.pipeline.verify import Difference
from mockexport.stats import read_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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
    suppressed, ranges, only = document.get("suppressed", {}), document.get("ranges"), document.get("only")
    left_out, unassigned = document.get("left_out", {}), document.get("unassigned", {})
    patients = document.get("patients")
    for name, is_sound, meaning in (
        ("patients", _is_object(patients, _by_type), "figures by patient and type"),
        ("totals", _by_type(document.get("totals")), "figures by type"),
        ("all", _is_object(document["all"], _is_figure), "figures"),
        ("left_out", _is_object(left_out, _is_number), "numbers by reason"),
        ("unassigned", _is_object(unassigned, _numbers), "numbers by type and reason"),
        ("suppressed", _is_object(suppressed, _is_number), "numbers"),
        ("only", only is None or (isinstance(only, list) and all(isinstance(id_, str) for id_ in only)), "patients"),
    ):
        if not is_sound:
            raise UntrustedDataError(f'it is not a result of stats: "{name}" does not hold {meaning}')
    try:
        now = None if "now" not in document else parse_time(document["now"])
    except (TypeError, ValueError) as error:
        raise UntrustedDataError(f'it is not a result of stats: "now" is {document["now"]!r}, not a time') from error
    try:
        read_ranges({} if ranges is None else ranges)
    except UsageError as error:
        raise UntrustedDataError(f'it is not a result of stats: in "ranges", {error.message}') from error
    return CommittedStatistics(
        patients, document["totals"], document["all"], left_out, unassigned, suppressed.get("cells", 0), now, ranges,
        only, suppressed.get("below", 0),
    )  # fmt: skip


def _is_object(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))


def _by_type(value: Any) -> bool:
    return _is_object(value, lambda figures: _is_object(figures, _is_figure))


def _numbers(value: Any) -> bool:
    return _is_object(value, _is_number)


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
