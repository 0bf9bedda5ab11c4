"""Parses and validates HTTP bodies and query strings. An error is one line that begins with the field's name.

A batch is validated in one call of pydantic-core; only if that fails, reading by reading, by the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qsl

from pydantic_core import SchemaValidator, ValidationError, from_json
from pydantic_core import core_schema as schema

from mockexport.heartrate.readings import (
    HIGHEST_RATE,
    ID_CHARACTERS,
    LATEST,
    LOWEST_RATE,
    READINGS_A_BATCH,
    LeapSecondError,
    Readings,
    parse_instant,
    parse_timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Batch", "InvalidError", "Query", "Rejected", "read_batch", "read_query", "read_reading"]

PARAMETERS = ("user_id", "start", "end", "device_id")
PARAMETERS_AT_MOST = 32
NO_TIMESTAMP = "is not an ISO 8601 date and time, such as 2024-01-15T10:00:00Z"
NO_INSTANT = "is not an ISO 8601 date, or date and time, such as 2024-01-15 or 2024-01-15T10:00:00Z"
TOO_FAR_AHEAD = "is too far in the future by the server's clock"
NO_NUL = r"^[^\x00]*$"  # datetime.fromisoformat ignores one at the end
BARE_OFFSET = re.compile(r"(.*\d{2}:?\d{2}\S*) (\d{2}(:?\d{2}){0,2})", re.DOTALL)

_ID = schema.str_schema(strict=True, min_length=1, max_length=ID_CHARACTERS)
_READING = schema.typed_dict_schema(
    {
        "device_id": schema.typed_dict_field(_ID),
        "user_id": schema.typed_dict_field(_ID),
        "timestamp": schema.typed_dict_field(schema.str_schema(strict=True, pattern=NO_NUL)),
        "heart_rate": schema.typed_dict_field(
            schema.float_schema(strict=True, ge=LOWEST_RATE, le=HIGHEST_RATE, allow_inf_nan=False)
        ),
    },
    extra_behavior="ignore",
)
_BATCH = schema.typed_dict_schema(
    {
        "readings": schema.typed_dict_field(
            schema.list_schema(_READING, strict=True, min_length=1, max_length=READINGS_A_BATCH)
        )
    },
    extra_behavior="ignore",
)
ONE_READING, WHOLE_BATCH = SchemaValidator(_READING), SchemaValidator(_BATCH)

MESSAGES = {
    "missing": "is missing",
    "string_type": "is not a string",
    "string_too_short": "is empty",
    "string_too_long": f"has more than {ID_CHARACTERS} characters",
    "string_pattern_mismatch": NO_TIMESTAMP,
    "float_type": "is not a number",
    "finite_number": "is not a number",
    "greater_than_equal": f"is below {LOWEST_RATE} beats a minute",
    "less_than_equal": f"is above {HIGHEST_RATE} beats a minute",
    "dict_type": "is not a JSON object",
}


class InvalidError(Exception):
    """An invalid body or query; `str(error)` is one line that begins with the field's name."""


class ValidReading(TypedDict):
    """A reading that is valid except perhaps for its timestamp, which is still a string."""

    device_id: str
    user_id: str
    timestamp: str
    heart_rate: float


class Rejected(TypedDict):
    """A rejected reading: its index in the batch, from 0, and the reason."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The valid and the rejected readings of a batch."""

    readings: Readings
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class Query:
    """A query; `start` and `end`, both inclusive, are microseconds since 1970 in UTC."""

    user: str
    start: int
    end: int
    device: str | None


def read_reading(body: bytes | bytearray, latest: int = LATEST) -> Readings:
    """Parse the body of a single reading, not later than `latest` (microseconds since 1970). Raises InvalidError."""
    try:
        return _columns([ONE_READING.validate_json(body)], latest)
    except (ValidationError, ValueError):
        return _columns([_validate(_json(body), latest)], latest)


def read_batch(body: bytes | bytearray, latest: int = LATEST) -> Batch:
    """Parse the body of a batch; each reading is validated on its own. Raises InvalidError if none is valid."""
    try:
        return Batch(_columns(WHOLE_BATCH.validate_json(body)["readings"], latest), [])
    except (ValidationError, ValueError):
        return read_one_by_one(body, latest)


def read_one_by_one(body: bytes | bytearray, latest: int = LATEST) -> Batch:
    """Parse the body of a batch reading by reading: slower, but with an error for each."""
    valid: list[ValidReading] = []
    rejected: list[Rejected] = []
    for index, reading in enumerate(_envelope(_json(body))):
        try:
            valid.append(_validate(reading, latest))
        except InvalidError as error:
            rejected.append({"index": index, "reason": str(error)})
    if not valid:
        raise InvalidError(f"readings: none of {len(rejected)} is valid; the first: {rejected[0]['reason']}")
    return Batch(_columns(valid, latest), rejected)


def _json(body: bytes | bytearray) -> object:
    try:
        return from_json(bytes(body))
    except ValueError as error:
        raise InvalidError(f"body: is not valid JSON: {error}") from None


def _envelope(document: object) -> list[object]:
    if not isinstance(document, dict):
        raise InvalidError("body: is not a JSON object")
    if "readings" not in document:
        raise InvalidError("readings: is missing")
    readings = document["readings"]
    if not isinstance(readings, list):
        raise InvalidError("readings: is not a list")
    if not readings:
        raise InvalidError("readings: is empty")
    if len(readings) > READINGS_A_BATCH:
        raise InvalidError(f"readings: has {len(readings):,} readings; the limit is {READINGS_A_BATCH:,}")
    return readings


def _validate(reading: object, latest: int) -> ValidReading:
    """Return a valid reading. Raises InvalidError with the errors of all fields."""
    try:
        valid: ValidReading = ONE_READING.validate_python(reading)
    except ValidationError as error:
        errors = {problem["loc"]: _message(problem) for problem in error.errors(include_url=False, include_input=False)}
        timestamp = reading.get("timestamp") if isinstance(reading, dict) else None
        if isinstance(timestamp, str) and (wrong := _timestamp_error(timestamp, latest)):
            errors["timestamp",] = f"timestamp: {wrong}"
        raise InvalidError("; ".join(errors.values())) from None
    if wrong := _timestamp_error(valid["timestamp"], latest):
        raise InvalidError(f"timestamp: {wrong}")
    return valid


def _message(problem: Mapping[str, Any]) -> str:
    field = problem["loc"][0] if problem["loc"] else "reading"
    return f"{field}: {MESSAGES.get(problem['type'], 'is not valid')}"


def _timestamp_error(text: str, latest: int) -> str | None:
    try:
        time = parse_timestamp(text)
    except LeapSecondError as error:
        return str(error)
    except ValueError:
        return NO_TIMESTAMP
    return TOO_FAR_AHEAD if time > latest else None


def _columns(readings: list[ValidReading], latest: int) -> Readings:
    """Convert readings to columns. Raises ValueError for a timestamp that is invalid or after `latest`."""
    times = [parse_timestamp(reading["timestamp"]) for reading in readings]
    if max(times) > latest:
        raise ValueError(TOO_FAR_AHEAD)
    return Readings(
        users=[reading["user_id"] for reading in readings],
        devices=[reading["device_id"] for reading in readings],
        times=times,
        rates=[reading["heart_rate"] for reading in readings],
    )


def read_query(query_string: bytes) -> Query:
    """Parse the query string of a query; unknown parameters are ignored. Raises InvalidError."""
    given = _parameters(query_string)
    user = _id(given, "user_id")
    start, end = (_instant(given, name) for name in ("start", "end"))
    device = _id(given, "device_id") if "device_id" in given else None
    if start > end:
        raise InvalidError("start: is after end")
    return Query(user, start, end, device)


def _parameters(query_string: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_AT_MOST
        )
    except UnicodeDecodeError:
        raise InvalidError("query: is not percent-encoded UTF-8") from None
    except ValueError:
        raise InvalidError(f"query: has more than {PARAMETERS_AT_MOST} parameters") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given and name in PARAMETERS:
            raise InvalidError(f"{name}: is given twice")
        given[name] = value
    return given


def _id(given: dict[str, str], name: str) -> str:
    value = _present(given, name)
    if len(value) > ID_CHARACTERS:
        raise InvalidError(f"{name}: {MESSAGES['string_too_long']}")
    return value


def _present(given: dict[str, str], name: str) -> str:
    if name not in given:
        raise InvalidError(f"{name}: is missing")
    if not given[name]:
        raise InvalidError(f"{name}: is empty")
    return given[name]


def _instant(given: dict[str, str], name: str) -> int:
    """Parse a date or a timestamp. A bare `+02:00` in a URL has been decoded as ` 02:00`, and is accepted as well."""
    text = _present(given, name)
    if "\0" in text:
        raise InvalidError(f"{name}: {NO_INSTANT}")
    try:
        return parse_instant(text, is_end=name == "end")
    except LeapSecondError as error:
        raise InvalidError(f"{name}: {error}") from None
    except ValueError:
        bare = BARE_OFFSET.fullmatch(text)
    if bare:
        try:
            return parse_timestamp(f"{bare[1]}+{bare[2]}")
        except LeapSecondError as error:
            raise InvalidError(f"{name}: {error}") from None
        except ValueError:
            pass
    raise InvalidError(f"{name}: {NO_INSTANT}")
