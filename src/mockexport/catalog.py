"""The nouns: what a source says of the exports and downloads that it has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Download", "Export", "parse_time", "summarise", "time_text"]


@dataclass(frozen=True, slots=True)
class Download:
    """One CSV file of an export, as its source declares it; None is what the source doesn't declare.

    `rows` counts the records without the header, `size` the bytes of the CSV. `start_time` and `end_time` are in UTC.
    `etag` is the ETag of the bytes, `W/"…"` when it is weak; only a strong one names them (identity.py). `piece` is
    how many bytes are worth a reading of their own, from their place on; None where it must be read from its start.
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
    piece: int | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """An export as a whole, summed up over its downloads; None is what at least one download doesn't declare."""

    id: str
    downloads: int
    rows: int | None
    patients: int | None
    event_types: tuple[str, ...] | None
    start_time: datetime | None
    end_time: datetime | None


def summarise(export: str, downloads: Sequence[Download]) -> Export:
    """Sum up an export; event types come in the order in which the downloads first name them."""
    starts = [download.start_time for download in downloads]
    ends = [download.end_time for download in downloads]
    rows = [download.rows for download in downloads]
    patients = _union(download.patients for download in downloads)
    return Export(
        id=export,
        downloads=len(downloads),
        rows=None if None in rows else sum(n for n in rows if n is not None),
        patients=None if patients is None else len(patients),
        event_types=_union(download.event_types for download in downloads),
        start_time=None if None in starts else min((t for t in starts if t is not None), default=None),
        end_time=None if None in ends else max((t for t in ends if t is not None), default=None),
    )


def _union(parts: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    seen: dict[str, None] = {}
    for part in parts:
        if part is None:
            return None
        seen.update(dict.fromkeys(part))
    return tuple(seen)


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
