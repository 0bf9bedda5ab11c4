"""Readings made up for the tests, and the ten lines that say what a query answers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mockexport.heartrate.readings import Point, Readings, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MINUTE = 60_000_000
DAY = 1440 * MINUTE
MIDNIGHT = parse_timestamp("2024-01-15T00:00:00Z")
TEN = parse_timestamp("2024-01-15T10:00:00Z")
PRIORITIES = {"device_a": 1, "device_b": 2}

Row = tuple[str, str, int, float]
"""User, device, time, rate."""


def batch(*rows: Row) -> Readings:
    """Return rows as columns."""
    users, devices, times, rates = (list(column) for column in zip(*rows, strict=True))
    return Readings(users, devices, times, rates)


def at(text: str) -> int:
    return parse_timestamp(text)


def model_points(
    rows: Iterable[Row],
    user: str,
    start: int,
    end: int,
    device: str | None = None,
    priorities: Mapping[str, int] = PRIORITIES,
) -> list[Point]:
    """Answer a query as the specification says it, in plain Python."""
    kept = {row[:3]: row[3] for row in rows}
    minutes: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (its_user, its_device, time), rate in kept.items():
        if its_user == user and start <= time <= end and device in {None, its_device}:
            minutes[time - time % MINUTE][its_device].append(rate)
    points = []
    for minute, devices in sorted(minutes.items()):
        best = min(devices, key=lambda name: (priorities.get(name, 999), name))
        points.append(Point(minute, sum(devices[best]) / len(devices[best]), best))
    return points
