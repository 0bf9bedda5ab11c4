"""The statistics of FHIR Observations in plain Python: the reference for the native accumulator, written to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mockexport.stats.contract import MAX_STATS_PAIRS
from mockexport.stats.numbers import parse_number
from mockexport.stats.reference import Pairs
from mockexport.stats.result import Stats
from mockexport.stats.times import parse_event_time
from mockexport.tally import MAX_RESOURCE_BYTES, ResourceReader, label_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mockexport.stats.contract import Ranges
    from mockexport.stats.numbers import Number
    from mockexport.tally import JsonObject, Resource

__all__ = ["ReferenceResourceStats"]


class ReferenceResourceStats:
    """The statistics of one NDJSON body; the contract is `mockexport.stats.contract.ResourceStatsAccumulator`."""

    def __init__(
        self,
        *,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        max_pairs: int = MAX_STATS_PAIRS,
        strict: bool = False,  # noqa: ARG002 - it always is
        base: str | None = None,
    ) -> None:
        self._reader = ResourceReader(measurements_of, skip=skip, max_row_bytes=max_row_bytes, base=base)
        self._pairs = Pairs(ranges, now, max_pairs)
        self._ended = False

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._end()
        self._take(self._reader.feed(chunk))
        self._ended = False

    def finish(self) -> Stats:
        """End the body, and return its statistics."""
        self._end()
        self._take(self._reader.finish())
        return Stats(self._pairs.built(), dict(self._reader.left_out), dict(self._pairs.unassigned))

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this accumulator has ended")
        self._ended = True

    def _take(self, resources: Iterable[Measurements]) -> None:
        for is_patient, who, time, values in resources:
            for label, value in values:
                if is_patient:
                    self._pairs.add((who, label), value, time, self._reader.line)
                else:
                    self._pairs.add_unassigned((label, who), self._reader.line)


class Measurements(NamedTuple):
    """The records of a resource: its patient, or why there is none, its time, and the type and the number of each."""

    is_patient: bool
    who: str
    time: int | None
    values: list[tuple[str, Number | None]]


def measurements_of(resource: Resource) -> Measurements:
    """Return the records of a resource, none unless it is an Observation. Raises what `ResourceReader` takes."""
    members, label = resource.members, resource.label("code")
    if resource.type != "Observation":
        return Measurements(resource.is_patient, resource.who, None, [])
    time = parse_event_time(time_of(members).encode())
    values = [(label, number_of(quantity))] if (quantity := members.object("valueQuantity")) is not None else []
    for component in members.objects("component"):
        own_label = label_of(component.member("code")) or resource.type
        values.append((own_label, number_of(component.object("valueQuantity"))))
    return Measurements(resource.is_patient, resource.who, time, values or [(label, None)])


def time_of(observation: JsonObject) -> str:
    """Return when something was observed, as it is written: by the first of the ways to say it that is there."""
    text = observation.text("effectiveDateTime") or observation.text("effectiveInstant")
    period = None if text else observation.object("effectivePeriod")
    return text if period is None else period.text("start")


def number_of(quantity: JsonObject | None) -> Number | None:
    """Return the number of a Quantity."""
    value = None if quantity is None else quantity.scalar("value")
    return None if value is None else parse_number(value.encode())
