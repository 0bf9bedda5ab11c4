"""Synthetic readings of many users and devices, as real devices send them.

Several devices of a user report at a time; readings are late and out of order, some are duplicates, some are invalid.
The same seed gives the same readings in the same posts, so the stored readings can be reconciled with those sent.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["READINGS", "Plan", "Post", "posts"]

READINGS = 10_000
START = datetime(2025, 8, 26, tzinfo=UTC)
READINGS_A_BATCH = 1_000
SHUFFLED = 500  # readings are shuffled in groups of this size
LATE = 0.02  # the share of readings that are much later than their neighbours
LATE_READINGS = 5_000
SECONDS_APART = 20
SILENT = 0.5  # the probability that a device does not report in a round
ZONES = ("", "Z", "+00:00", "+02:00", "-05:00", "+05:30")
WRONG = (
    {"heart_rate": 0},
    {"heart_rate": "fast"},
    {"timestamp": "yesterday"},
    {"user_id": ""},
    {"device_id": None},
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `readings` None means until `seconds` are over; `rate` (readings a second) None means no limit.

    `duplicates` and `invalid` are shares of the readings sent. With a rate, `burst` readings are sent at once, then
    none until the rate is met again. With `whole`, all heart rates are whole numbers: some services accept no others.
    """

    readings: int | None = READINGS
    seconds: float | None = None
    seed: int = 0
    users: int = 10
    devices: int = 3
    start: datetime = START
    batch: int = READINGS_A_BATCH
    singles: bool = False
    duplicates: float = 0.05
    invalid: float = 0.0
    rate: float | None = None
    burst: int = 2_000
    whole: bool = False
    clients: int = 4


@dataclass(frozen=True, slots=True)
class Post:
    """A request; `numbers` identify its valid readings, with the same number for a duplicate."""

    body: bytes
    readings: int
    numbers: list[int]


def posts(plan: Plan) -> Iterator[Post]:
    """Generate the posts, in order; without end if the plan has no number of readings."""
    stream = _with_others(plan, random.Random(f"{plan.seed} others"))
    size = 1 if plan.singles else plan.batch
    while some := list(itertools.islice(stream, size)):
        readings = [reading for _, reading in some]
        body = orjson.dumps(readings[0] if plan.singles else {"readings": readings})
        yield Post(body, len(some), [number for number, _ in some if number is not None])


def _with_others(plan: Plan, chance: random.Random) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Insert duplicates and invalid readings; yield `plan.readings` in all."""
    recent: list[tuple[int, dict[str, Any]]] = []
    distinct = _late(plan, random.Random(f"{plan.seed} order"))
    for _ in itertools.count() if plan.readings is None else range(plan.readings):
        drawn = chance.random()
        if drawn < plan.invalid:
            yield None, {**next(distinct)[1], **chance.choice(WRONG)}
        elif recent and drawn < plan.invalid + plan.duplicates:
            yield chance.choice(recent)
        else:
            found = next(distinct)
            recent.append(found)
            if len(recent) > LATE_READINGS:
                recent = recent[-SHUFFLED:]
            yield found


def _late(plan: Plan, chance: random.Random) -> Iterator[tuple[int, dict[str, Any]]]:
    """Change the order: all readings a little, some of them a lot."""
    late: list[tuple[int, dict[str, Any]]] = []
    stream = enumerate(_readings(plan))
    while True:
        near = list(itertools.islice(stream, SHUFFLED))
        chance.shuffle(near)
        for reading in near:
            if chance.random() < LATE:
                late.append(reading)
                continue
            yield reading
            if len(late) * SHUFFLED > chance.randrange(LATE_READINGS):
                yield late.pop(chance.randrange(len(late)))


def _readings(plan: Plan) -> Iterator[dict[str, Any]]:
    """Generate readings without end, no two with the same user, device and time, in rounds of all users and devices."""
    chance = random.Random(f"{plan.seed} readings")
    devices = [f"device_{_letters(number)}" for number in range(plan.devices)]
    users = [f"user_{number:03}" for number in range(1, plan.users + 1)]
    rates = [chance.gauss(75, 10) for _ in users]
    for seconds in itertools.count(0, SECONDS_APART):
        for index, user in enumerate(users):
            rates[index] += chance.gauss(0, 1) + (75 - rates[index]) * 0.01
            for device in devices:
                if chance.random() < SILENT:
                    continue
                fraction = chance.choice((0, chance.randrange(1_000_000)))
                moment = timedelta(seconds=seconds + chance.randrange(SECONDS_APART), microseconds=fraction)
                rate = min(220.0, max(30.0, rates[index] + chance.gauss(0, 2)))
                yield {
                    "device_id": device,
                    "user_id": user,
                    "timestamp": _format(plan.start + moment, chance.choice(ZONES)),
                    "heart_rate": round(rate) if chance.getrandbits(1) or plan.whole else round(rate, 1),
                }


def _letters(number: int) -> str:
    """Return a number as letters, like the columns of a spreadsheet: a to z, aa, ab and so on."""
    text = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = chr(ord("a") + letter) + text
    return text


def _format(moment: datetime, zone: str) -> str:
    """Format a time as devices do: in UTC without an offset or with `Z`, or in local time with an offset."""
    if zone[:1] not in ("+", "-"):
        return moment.replace(tzinfo=None).isoformat() + zone
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (1 if zone[0] == "+" else -1)
    return (moment.replace(tzinfo=None) + offset).isoformat() + zone
