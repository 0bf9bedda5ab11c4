"""Bodies that are right, and every kind that isn't, with the field that the answer must name."""

from __future__ import annotations

from typing import Any

import orjson

GOOD: dict[str, Any] = {
    "device_id": "device_a",
    "user_id": "user_123",
    "timestamp": "2024-01-15T10:00:00Z",
    "heart_rate": 75,
}


def reading(**changes: Any) -> dict[str, Any]:
    """A valid reading, but for the changes."""
    return {**GOOD, **changes}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


def dumps(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)


def raw(field: str, value: bytes) -> bytes:
    """A valid reading, but for one value, which is written as it is."""
    return dumps(reading(**{field: "@"})).replace(b'"@"', value)


WRONG_READINGS: dict[str, tuple[str, bytes]] = {
    **{f"{field} missing": (field, dumps(without(field))) for field in GOOD},
    **{f"{field} null": (field, dumps(reading(**{field: None}))) for field in GOOD},
    **{f"{field} list": (field, dumps(reading(**{field: []}))) for field in GOOD},
    **{f"{field} object": (field, dumps(reading(**{field: {}}))) for field in GOOD},
    **{f"{field} empty": (field, dumps(reading(**{field: ""}))) for field in GOOD},
    **{f"{field} too long": (field, dumps(reading(**{field: "x" * 129}))) for field in ("user_id", "device_id")},
    **{f"{field} number": (field, dumps(reading(**{field: 1}))) for field in ("user_id", "device_id", "timestamp")},
    "rate below": ("heart_rate", dumps(reading(heart_rate=29.9))),
    "rate above": ("heart_rate", dumps(reading(heart_rate=220.1))),
    "rate negative": ("heart_rate", dumps(reading(heart_rate=-75))),
    "rate zero": ("heart_rate", dumps(reading(heart_rate=0))),
    "rate true": ("heart_rate", dumps(reading(heart_rate=True))),
    "rate false": ("heart_rate", dumps(reading(heart_rate=False))),
    "rate text": ("heart_rate", dumps(reading(heart_rate="75"))),
    "rate NaN": ("heart_rate", raw("heart_rate", b"NaN")),
    "rate Infinity": ("heart_rate", raw("heart_rate", b"Infinity")),
    "rate -Infinity": ("heart_rate", raw("heart_rate", b"-Infinity")),
    "rate 1e999": ("heart_rate", raw("heart_rate", b"1e999")),
    "rate of 400 digits": ("heart_rate", raw("heart_rate", b"9" * 400)),
    "time a number": ("timestamp", dumps(reading(timestamp=1705312800))),
    "time a number as text": ("timestamp", dumps(reading(timestamp="1705312800"))),
    "time words": ("timestamp", dumps(reading(timestamp="yesterday"))),
    "time a date": ("timestamp", dumps(reading(timestamp="2024-01-15"))),
    "time without a date": ("timestamp", dumps(reading(timestamp="10:00:00Z"))),
    "time with month 13": ("timestamp", dumps(reading(timestamp="2024-13-15T10:00:00Z"))),
    "time with day 30 of February": ("timestamp", dumps(reading(timestamp="2024-02-30T10:00:00Z"))),
    "time with hour 25": ("timestamp", dumps(reading(timestamp="2024-01-15T25:00:00Z"))),
    "time with second 60": ("timestamp", dumps(reading(timestamp="2024-01-15T10:00:60Z"))),
    "time of year 10000": ("timestamp", dumps(reading(timestamp="10000-01-15T10:00:00Z"))),
    "time of year 0": ("timestamp", dumps(reading(timestamp="0000-01-15T10:00:00Z"))),
    "time before year 1 in UTC": ("timestamp", dumps(reading(timestamp="0001-01-01T00:00:00+02:00"))),
    "time behind year 9999 in UTC": ("timestamp", dumps(reading(timestamp="9999-12-31T23:59:59-02:00"))),
    "time with a zone's name": ("timestamp", dumps(reading(timestamp="2024-01-15T10:00:00 Europe/Berlin"))),
    "time with space around": ("timestamp", dumps(reading(timestamp=" 2024-01-15T10:00:00Z "))),
    "time with NUL": ("timestamp", dumps(reading(timestamp="2024-01-15T10:00:00\0"))),
    "time in other digits": ("timestamp", dumps(reading(timestamp="\uff12\uff10\uff12\uff14-01-15T10:00:00Z"))),
    "time very long": ("timestamp", dumps(reading(timestamp="2024-01-15T10:00:00." + "0" * 100_000 + "x"))),
}
WRONG_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "words": b"hello",
    "half": b'{"readings": [{"device_id": "a"',
    "two": dumps(GOOD) * 2,
    "form": b"device_id=a&user_id=b",
    "xml": b"<reading/>",
    "invalid UTF-8": raw("user_id", b'"\xff\xfe"'),
    "UTF-16": dumps(GOOD).decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + dumps(GOOD),
    "a lone surrogate": raw("user_id", rb'"\ud800"'),
    "a raw NUL": raw("user_id", b'"\0"'),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b"[" * 5000 + b"]" * 5000,
    "a number of 5,000 digits": raw("heart_rate", b"9" * 5000),
    "a comma too many": b'{"user_id": "a",}',
    "single quotes": b"{'user_id': 'a'}",
}
NO_OBJECT: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "a number": b"75",
    "text": b'"reading"',
    "a list": b"[]",
    "NaN": b"NaN",
}
WRONG_ENVELOPES: dict[str, tuple[str, bytes]] = {
    **{name: ("body", body) for name, body in (WRONG_JSON | NO_OBJECT).items()},
    "no readings": ("readings", b"{}"),
    "a reading": ("readings", dumps(GOOD)),
    "readings null": ("readings", b'{"readings":null}'),
    "readings an object": ("readings", dumps({"readings": GOOD})),
    "readings text": ("readings", b'{"readings":"all"}'),
    "readings empty": ("readings", b'{"readings":[]}'),
    "1,001 readings": ("readings", dumps({"readings": [GOOD] * 1001})),
    "none valid": ("readings", dumps({"readings": [reading(heart_rate=0), None]})),
    "one, and it is none": ("readings", b'{"readings":[[]]}'),
}
