"""Request and response schemas for the description at /docs; validation.py does the validation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from mockexport.heartrate.readings import HIGHEST_RATE, ID_CHARACTERS, LOWEST_RATE, READINGS_A_BATCH

__all__ = [
    "BATCH_BODY",
    "BATCH_RESPONSES",
    "HEALTH_RESPONSES",
    "METRICS_RESPONSES",
    "QUERY_PARAMETERS",
    "QUERY_RESPONSES",
    "READING_BODY",
    "READING_RESPONSES",
]

Responses = dict[int | str, dict[str, Any]]

ID = {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS, "example": "user_123"}
TIMESTAMP = {
    "type": "string",
    "format": "date-time",
    "description": "ISO 8601 with any offset, or none for UTC; stored to the microsecond. No leap seconds.",
    "example": "2024-01-15T10:00:00Z",
}
INSTANT = {
    "type": "string",
    "anyOf": [{"format": "date-time"}, {"format": "date"}],
    "description": "ISO 8601 with any offset, or none for UTC; or a date. No leap seconds.",
    "example": "2024-01-15T10:00:00Z",
}
READING = {
    "type": "object",
    "required": ["device_id", "user_id", "timestamp", "heart_rate"],
    "properties": {
        "device_id": {**ID, "example": "device_a"},
        "user_id": ID,
        "timestamp": TIMESTAMP,
        "heart_rate": {
            "type": "number",
            "minimum": LOWEST_RATE,
            "maximum": HIGHEST_RATE,
            "description": "Beats a minute.",
            "example": 75,
        },
    },
}
BATCH = {
    "type": "object",
    "required": ["readings"],
    "properties": {"readings": {"type": "array", "minItems": 1, "maxItems": READINGS_A_BATCH, "items": READING}},
}


class Problem(BaseModel):
    """The error, in one line that begins with the name of the field."""

    detail: str


class ReadingAccepted(BaseModel):
    """The reading is on disk, and queries see it."""

    status: str


class RejectedReading(BaseModel):
    """A rejected reading of the batch, and the reason."""

    index: int
    reason: str


class BatchAccepted(BaseModel):
    """The valid readings are on disk, and queries see them; `errors` is there if some were invalid."""

    status: str
    accepted: int
    rejected: int
    total: int
    errors: list[RejectedReading] = []


class Minute(BaseModel):
    """The mean heart rate of a UTC minute, and the device whose readings were averaged."""

    timestamp: str
    heart_rate: float
    device_id: str


class Minutes(BaseModel):
    """A user's heart rate by minute, in order."""

    user_id: str
    data: list[Minute]
    count: int


class Health(BaseModel):
    """A reading would be accepted."""

    status: str
    service: str


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _parameter(name: str, schema: dict[str, Any], description: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": description}


def _problem(description: str) -> dict[str, Any]:
    return {"model": Problem, "description": description}


_BUSY = {
    **_problem("Unavailable, and nothing was stored; `Retry-After` says when to retry."),
    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}
_LIMITED = {
    **_problem("Beyond a rate limit, and nothing was stored; `Retry-After` says when to retry."),
    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}
_POST: Responses = {
    400: _problem("The body is invalid; `detail` begins with the field's name."),
    408: _problem("The body did not arrive in time."),
    413: _problem("The body is larger than 1 MiB, or has more readings of a user than its limit ever lets through."),
    429: _LIMITED,
    503: _BUSY,
}
READING_BODY = _body(READING)
BATCH_BODY = _body(BATCH)
READING_RESPONSES: Responses = {202: {"model": ReadingAccepted, "description": "The reading is on disk."}, **_POST}
BATCH_RESPONSES: Responses = {202: {"model": BatchAccepted, "description": "The valid readings are on disk."}, **_POST}
QUERY_PARAMETERS = {
    "parameters": [
        _parameter("user_id", ID, "The user."),
        _parameter("start", INSTANT, "The first instant; a date is its first instant in UTC."),
        _parameter("end", INSTANT, "The last instant, inclusive; a date is the whole day in UTC."),
        _parameter("device_id", ID, "Only readings of this device.", required=False),
    ]
}
QUERY_RESPONSES: Responses = {
    200: {"model": Minutes, "description": "The minutes that have readings."},
    400: _problem("A parameter is invalid; `detail` begins with its name."),
    404: _problem("There are no readings in the range."),
    429: _LIMITED,
    503: _BUSY,
}
HEALTH_RESPONSES: Responses = {
    200: {"model": Health, "description": "Yes."},
    503: _problem("No, and why."),
}
METRICS_RESPONSES: Responses = {
    200: {"description": "Metrics by name.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
