"""The types of heart-rate data: readings in, points and days out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from mockexport.model import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HIGHEST_RATE",
    "ID_CHARACTERS",
    "LATEST",
    "LOWEST_RATE",
    "READINGS_A_BATCH",
    "DaySummary",
    "LeapSecondError",
    "Point",
    "Readings",
    "date_of",
    "decode",
    "encode",
    "microseconds_of",
    "minutes_document",
    "parse_instant",
    "parse_timestamp",
    "time_of",
]

LOWEST_RATE, HIGHEST_RATE = 30, 220
"""The range of a heart rate, in beats a minute, both ends included."""
ID_CHARACTERS = 128
"""The maximum length of a user's or a device's id."""
READINGS_A_BATCH = 1000

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
DAY = 86_400 * 1_000_000
DATE_AND_TIME = re.compile(r"[0-9W-]{7,10}[Tt ][0-9]")  # datetime.fromisoformat also accepts other separators, and none
DATE = re.compile(r"[0-9]{4}-?([0-9]{2}-?[0-9]{2}|W[0-9]{2}-?[0-9])")
LEAP_SECOND = re.compile(r"(.{7,10}[T ][0-9]{2}(?::[0-9]{2}:|[0-9]{2}))60([.,][0-9]+)?(Z|[+-].*)?", re.DOTALL)
END_OF_DAY = re.compile(r"(.{7,10}[T ])24(:?00(?::?00(?:[.,]0+)?)?)?(Z|[+-].*)?", re.DOTALL)


class LeapSecondError(ValueError):
    """A time in a leap second: valid in RFC 3339, but microseconds since 1970 do not count it.

    It is not taken for the second after it, which may have readings of its own.
    """

    def __str__(self) -> str:
        """Return what is wrong, to be read behind the name of a field."""
        return "has the second 60; leap seconds are not supported: use second 59 or the next minute"


@dataclass(frozen=True, slots=True)
class Readings:
    """A valid batch: 1 to 1,000 readings as columns of equal length, in their original order.

    `times` are in microseconds since 1970-01-01T00:00Z, `rates` in beats a minute.
    """

    users: list[str]
    devices: list[str]
    times: list[int]
    rates: list[float]

    def __len__(self) -> int:
        return len(self.times)


def encode(readings: Readings) -> bytes:
    """Encode a batch for the journal: its columns as JSON."""
    return orjson.dumps({"u": readings.users, "d": readings.devices, "t": readings.times, "h": readings.rates})


def decode(payload: bytes) -> Readings:
    """Return the batch that `encode` has encoded."""
    columns = orjson.loads(payload)
    return Readings(columns["u"], columns["d"], columns["t"], columns["h"])


class Point(NamedTuple):
    """A user's heart rate in one UTC minute, whose start is `minute` (microseconds since 1970), from one device."""

    minute: int
    heart_rate: float
    device: str


class DaySummary(NamedTuple):
    """A UTC day of readings: `rows` is the number of distinct ones, `users` is None if there are too many.

    `first` and `last` are the earliest and latest time (microseconds since 1970). `etag` identifies the content: it
    changes when readings arrive, but not when files are only rewritten.
    """

    date: date
    rows: int
    users: tuple[str, ...] | None
    first: int
    last: int
    etag: str


def parse_timestamp(text: str) -> int:
    """Return an ISO 8601 date and time as microseconds since 1970; without an offset it is in UTC.

    RFC 3339 allows `t` and `z` in lower case and a space for `T`; the hour 24 is the end of a day, as in ISO 8601:2004.
    A fraction is truncated to microseconds. Raises ValueError for anything else, LeapSecondError for the second
    60, and ValueError outside the years 1 to 9999.
    """
    if not DATE_AND_TIME.match(text):
        raise ValueError("a timestamp must have a date and a time, as in 2024-01-15T10:00:00Z")
    try:
        time = _microseconds(text)
    except ValueError:  # not at once, since most are written in the usual way
        text = text.upper()
        if leap := LEAP_SECOND.fullmatch(text):
            _microseconds(f"{leap[1]}59{leap[2] or ''}{leap[3] or ''}")  # the rest of it is valid
            raise LeapSecondError from None
        end = END_OF_DAY.fullmatch(text)
        time = _microseconds(f"{end[1]}00{end[2] or ''}{end[3] or ''}") + DAY if end else _microseconds(text)
    if not EARLIEST <= time <= LATEST:
        raise ValueError("a timestamp must be within the years 1 to 9999 in UTC")
    return time


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return microseconds_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def parse_instant(text: str, *, is_end: bool = False) -> int:
    """Return one end of a range of time as microseconds since 1970, both ends inclusive.

    A date alone is its first or, as the end of a range, its last microsecond in UTC. Raises ValueError.
    """
    if not DATE.fullmatch(text):
        return parse_timestamp(text)
    day = microseconds_of(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return day + DAY - 1 if is_end else day


def microseconds_of(time: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def time_of(microseconds: int) -> datetime:
    """Return the UTC time of `microseconds` since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def date_of(microseconds: int) -> date:
    """Return the UTC day of `microseconds` since 1970."""
    return time_of(microseconds).date()


def minutes_document(user: str, points: Sequence[Point]) -> dict[str, Any]:
    """Return the answer to a query, as the server sends it in JSON."""
    data = [
        {"timestamp": time_text(time_of(point.minute)), "heart_rate": point.heart_rate, "device_id": point.device}
        for point in points
    ]
    return {"user_id": user, "data": data, "count": len(data)}
