"""What the made-up exports are: the specification that every generator of them follows, byte for byte.

All randomness is CPython's own Mersenne Twister, `random.Random`. An export's layout is drawn from one generator seeded
with the export's id; each download's rows from one of their own, seeded with the download's id. docs/mock-exports.md
tells the same in words.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

__all__ = ["EVENT_TYPES", "EXPORTS", "EventType", "ExportSpec", "Plan", "download_uuid", "plans"]


@dataclass(frozen=True, slots=True)
class EventType:
    """A kind of measurement: its values are normal around `mean`, cut to whole numbers and clamped to [low, high]."""

    name: str
    mean: int
    deviation: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """What an export's layout is drawn from; each download has `min_rows` to `max_rows` rows, one a `step`."""

    id: str
    downloads: int
    min_rows: int
    max_rows: int
    step: timedelta
    pool: tuple[str, ...]
    event_types: tuple[EventType, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the rows of one download are made from."""

    id: str
    seed: bytes
    rows: int
    start: datetime
    step: timedelta
    patients: tuple[str, ...]
    event_types: tuple[EventType, ...]

    @property
    def start_microseconds(self) -> int:
        """The start, in microseconds since 1970."""
        return (self.start - EPOCH) // MICROSECOND

    @property
    def step_microseconds(self) -> int:
        """The step in microseconds."""
        return self.step // MICROSECOND

    @property
    def step_seconds(self) -> float:
        """The step in seconds, as the uniform draw takes it."""
        return self.step.total_seconds()

    @property
    def end(self) -> datetime:
        """Where the next download starts."""
        return self.start + self.rows * self.step


EVENT_TYPES = {
    event_type.name: event_type
    for event_type in (
        EventType("heart_rate", mean=75, deviation=15, low=30, high=200),
        EventType("spo2", mean=97, deviation=2, low=70, high=100),
        EventType("bp_sys", mean=120, deviation=20, low=60, high=250),
        EventType("bp_dia", mean=80, deviation=15, low=30, high=150),
    )
}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
START = datetime(2025, 8, 26, tzinfo=UTC)


def _export(
    export: str, downloads: int, rows: tuple[int, int], step: timedelta, pool_size: int, *event_types: str
) -> ExportSpec:
    letter = export[0].upper() if export != "demo" else "P"
    pool = tuple(f"{letter}{number:03}" for number in range(1, pool_size + 1))
    return ExportSpec(export, downloads, *rows, step, pool, tuple(EVENT_TYPES[name] for name in event_types))


EXPORTS = {
    spec.id: spec
    for spec in (
        _export("demo", 2, (5_000, 10_000), timedelta(seconds=7), 4, "bp_sys", "bp_dia"),
        _export("small", 10, (500_000, 1_000_000), timedelta(seconds=3), 6, "heart_rate", "spo2"),
        _export(
            "large", 20, (5_000_000, 10_000_000), timedelta(milliseconds=300), 20,
            "heart_rate", "spo2", "bp_sys", "bp_dia",
        ),
    )
}  # fmt: skip


def download_uuid(export: str, name: int | str) -> uuid.UUID:
    """Return what is the id of a download: of the one with a number, or of the one called `patients`."""
    digest = hashlib.sha256(f"{export}_{name}".encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4)


@cache
def plans(export: str) -> tuple[Plan, ...]:
    """Draw an export's layout. Raises KeyError for an unknown export."""
    spec = EXPORTS[export]
    draw = random.Random(export)
    start = START
    layout = []
    for number in range(spec.downloads):
        identity = download_uuid(export, number)
        rows = draw.randint(spec.min_rows, spec.max_rows)
        patients = tuple(draw.sample(spec.pool, draw.randint(2, len(spec.pool))))
        plan = Plan(str(identity), identity.bytes, rows, start, spec.step, patients, spec.event_types)
        layout.append(plan)
        start = plan.end
    return tuple(layout)
