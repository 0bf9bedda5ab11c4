"""The nouns: what a source says of the exports and downloads that it has, and what was counted in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Counts", "Download", "Export", "parse_time", "summarise", "time_text"]


@dataclass(frozen=True, slots=True)
class Download:
    """One file of an export, as its source declares it; None is what the source doesn't declare.

    `format` says how its records are written: `csv`, or `ndjson` for FHIR resources, one a line. `rows` counts the
    records without the header, `size` the bytes of the text. `start_time` and `end_time` are in UTC. `etag` is the ETag
    of the bytes, `W/"…"` when it is weak; only a strong one names them (identity.py). `split_size` is how many bytes
    are worth a reading of their own; None where it must be read from its start. `base` is the URL of the FHIR server
    that the resources are from: a reference below it means the same as the relative one.
    """

    export: str
    id: str
    rows: int | None = None
    event_types: tuple[str, ...] | None = None
    patients: tuple[str, ...] | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    size: int | None = None
    etag: str | None = None
    split_size: int | None = None
    format: str = "csv"
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """An export as a whole, summed up over its downloads; None is what at least one download doesn't declare."""

    id: str
    downloads: int | None
    rows: int | None
    patients: int | None
    event_types: tuple[str, ...] | None
    start_time: datetime | None
    end_time: datetime | None


def summarise(export: str, downloads: Iterable[Download]) -> Export:
    """Sum up an export; event types come in the order in which the downloads first name them.

    The downloads are gone through once, and none of them is kept.
    """
    number = 0
    rows: int | None = 0
    patients: dict[str, None] | None = {}
    event_types: dict[str, None] | None = {}
    start: datetime | None = None
    end: datetime | None = None
    for number, download in enumerate(downloads, start=1):
        rows = None if rows is None or download.rows is None else rows + download.rows
        patients = _with(patients, download.patients)
        event_types = _with(event_types, download.event_types)
        if number == 1:
            start, end = download.start_time, download.end_time
        start = None if start is None or download.start_time is None else min(start, download.start_time)
        end = None if end is None or download.end_time is None else max(end, download.end_time)
    return Export(
        id=export,
        downloads=number,
        rows=rows,
        patients=None if patients is None else len(patients),
        event_types=None if event_types is None else tuple(event_types),
        start_time=start,
        end_time=end,
    )


def _with(known: dict[str, None] | None, names: tuple[str, ...] | None) -> dict[str, None] | None:
    """Add names to those known so far, in order; None is unknown, and stays so."""
    if known is None or names is None:
        return None
    known.update(dict.fromkeys(names))
    return known


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; one without an offset means UTC (docs/wire.md). Raises ValueError."""
    time = datetime.fromisoformat(text)
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:  # the first or the last day that there is, in another time zone
        raise ValueError(f"{text!r} is out of range") from error


def time_text(time: datetime) -> str:
    """Write a UTC time as the CSV does: ISO 8601, the fraction left out when it is zero, `Z` behind."""
    return time.replace(tzinfo=None).isoformat() + "Z"


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by patient and type, malformed rows left out by reason, and records without a patient by type and reason.

    The type is an event type of a CSV, or what FHIR resources are counted by. Counts add up, in whatever order and
    grouping; `Counts()` is zero.
    """

    patients: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    unassigned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            _added(self.patients, other.patients),
            dict(Counter(self.left_out) + Counter(other.left_out)),
            _added(self.unassigned, other.unassigned),
        )

    @property
    def totals(self) -> dict[str, int]:
        """Records by type, those without a patient too."""
        totals: Counter[str] = Counter()
        for types in self.patients.values():
            totals.update(types)
        for event_type, reasons in self.unassigned.items():
            totals[event_type] += sum(reasons.values())
        return dict(totals)

    @property
    def rows(self) -> int:
        """All records that were counted."""
        return sum(sum(numbers.values()) for part in (self.patients, self.unassigned) for numbers in part.values())

    @property
    def rows_seen(self) -> int:
        """All records, those left out too."""
        return self.rows + sum(self.left_out.values())


def _added(one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Add numbers that have two names each."""
    total = {name: Counter(numbers) for name, numbers in one.items()}
    for name, numbers in other.items():
        total.setdefault(name, Counter()).update(numbers)
    return {name: dict(numbers) for name, numbers in total.items()}
