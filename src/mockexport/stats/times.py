"""Event times as they stand in a body: what is one, in microseconds since 1970, UTC.

A time is `YYYY-MM-DDThh:mm:ss`, with a fraction and an offset if there are any: `Z`, `+hh:mm`, `+hhmm` or `+hh`, or
with a minus; without one it is UTC (docs/wire.md). A space may stand for the `T`, and `t` and `z` for the capitals
(RFC 3339, 5.6). Digits of a fraction behind the sixth are dropped. A date alone, a month and a year mean their
beginning (FHIR R4, dateTime). The year is 1 to 9999, also in UTC. A leap second is not a time, as in Python's
datetime.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from mockexport.model import time_text

__all__ = ["parse_event_time", "text_of_time"]

TIME = re.compile(
    rb"""(\d{4}) (?: -(\d\d) (?: -(\d\d) (?:
        [Tt\ ] (\d\d):(\d\d):(\d\d) (?: \.(\d+) )? (?: [Zz] | ([+-]) (\d\d) (?: :?(\d\d) )? )?
    )? )? )?""",
    re.VERBOSE,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
HOURS, MINUTES = 24, 60


def parse_event_time(text: bytes) -> int | None:
    """Read a time; None for anything else."""
    found = TIME.fullmatch(text)
    if found is None:
        return None
    *parts, fraction, sign, hours, minutes = found.groups()
    year, month, day = (int(part or 1) for part in parts[:3])
    hour, minute, second = (int(part or 0) for part in parts[3:])
    try:
        whole = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # no such day, or hour
        return None
    ahead = (int(hours or 0), int(minutes or 0))
    if ahead[0] >= HOURS or ahead[1] >= MINUTES:
        return None
    offset = (ahead[0] * 3600 + ahead[1] * 60) * SECOND
    time = (whole - EPOCH) // MICROSECOND + int((fraction or b"")[:6].ljust(6, b"0"))
    time += offset if sign == b"-" else -offset
    return time if EARLIEST <= time <= LATEST else None


def text_of_time(time: int) -> str:
    """Write a time as the CSV does."""
    return time_text(EPOCH + time * MICROSECOND)
