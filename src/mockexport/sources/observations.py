"""Records as FHIR R4: the Observation of a record, as docs/mock-exports.md and docs/fhir.md specify it.

Observations of one kind differ in five places: number, patient, time and value. So the bytes around these are made once
for each kind, a template, and a record is put into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.bulk_wire import fhir_id

if TYPE_CHECKING:
    from mockexport.tally import Record

__all__ = ["US_CORE", "VITAL_SIGNS", "Observations", "VitalSign", "json_line", "observation_template", "patient"]

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")  # a FHIR decimal, and a JSON number
TEMPLATES = 64  # that are kept; the name of a type may have a megabyte
MAX_NUMBER = 64  # bytes; FHIR asks for 18 digits
DATE = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = rb"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
ZONE = rb"Z|[-+](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)"
WHEN = re.compile(rb"(%b)(?:[T ](%b)(%b)?)?" % (DATE, TIME, ZONE))


@dataclass(frozen=True, slots=True)
class VitalSign:
    """How an event type is written in FHIR: LOINC codes with their names, and a unit with its UCUM code."""

    codes: tuple[tuple[str, str], ...]
    unit: str
    unit_code: str


VITAL_SIGNS = {
    "heart_rate": VitalSign((("8867-4", "Heart rate"),), "beats/minute", "/min"),
    "spo2": VitalSign(
        (
            ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
            ("2708-6", "Oxygen saturation in Arterial blood"),
        ),
        "%",
        "%",
    ),
    "bp_sys": VitalSign((("8480-6", "Systolic blood pressure"),), "mmHg", "mm[Hg]"),
    "bp_dia": VitalSign((("8462-4", "Diastolic blood pressure"),), "mmHg", "mm[Hg]"),
}


class Value(Enum):
    """What the value of a record is."""

    NUMBER = "number"
    TEXT = "text"
    ABSENT = "unknown"  # the codes of data-absent-reason
    UNREADABLE = "error"


WRITTEN = (Value.NUMBER, Value.TEXT)

Template = tuple[bytes, ...]
"""What stands before, between and behind a record's number, patient, time and value, in this order.

Without a time, or without a value, that place is missing.
"""


def json_line(resource: dict[str, Any]) -> bytes:
    """Return a resource as a line of NDJSON: compact, its keys in their order."""
    return orjson.dumps(resource, option=orjson.OPT_APPEND_NEWLINE)


# ---- Templates ----


def observation_template(
    event_type: str, *, before_number: str, after_time: str = "", value: Value = Value.NUMBER, timed: bool = True
) -> Template:
    """Return the template of the Observations of an event type.

    `before_number` begins their ids, and `after_time` ends their times. The profile is claimed where all is there that
    it asks for.
    """
    sign = VITAL_SIGNS.get(event_type)
    resource: dict[str, Any] = {"resourceType": "Observation", "id": _place(before_number)}
    if sign and timed and value is Value.NUMBER:
        resource["meta"] = {"profile": [f"{US_CORE}us-core-vital-signs"]}
    resource["status"] = "final"
    if sign:
        coding = {"system": CATEGORIES, "code": "vital-signs", "display": "Vital Signs"}
        resource["category"] = [{"coding": [coding]}]
        resource["code"] = {"coding": [{"system": LOINC, "code": code, "display": name} for code, name in sign.codes]}
    else:
        resource["code"] = {"text": event_type}
    resource["subject"] = {"reference": _place("Patient/")}
    if timed:
        resource["effectiveDateTime"] = _place("", after_time)
    if value is Value.NUMBER:
        unit = {"unit": sign.unit, "system": UCUM, "code": sign.unit_code} if sign else {}
        resource["valueQuantity"] = {"value": orjson.Fragment(b"\0"), **unit}
    elif value is Value.TEXT:
        resource["valueString"] = orjson.Fragment(b"\0")
    else:
        resource["dataAbsentReason"] = {"coding": [{"system": ABSENT, "code": value.value}]}
    return tuple(json_line(resource).split(b"\0"))  # which JSON never holds as it is


def _place(before: str, after: str = "") -> orjson.Fragment:
    """Return a string with a place in it."""
    return orjson.Fragment(b'"%b\0%b"' % (before.encode(), after.encode()))


# ---- Records ----


class Observations:
    """Writes the records of one download as Observations.

    Their ids are `name`, a hyphen, and the number of the record, from 0. `name` must be a FHIR id, and leave room.
    """

    def __init__(self, name: str) -> None:
        self._number = 0
        self._pattern = lru_cache(TEMPLATES)(partial(_pattern, f"{name}-"))

    def line(self, record: Record) -> bytes:
        """Return the next record as a line of NDJSON."""
        kind, value = value_of(record.value)
        time = time_of(record.time)
        places = [b"%d" % self._number, fhir_id(record.patient).encode()]
        if time is not None:
            places.append(time)
        if kind in WRITTEN:
            places.append(value)
        self._number += 1
        return self._pattern(record.event_type, kind, time is not None) % tuple(places)


def _pattern(before_number: str, event_type: str, value: Value, timed: bool) -> bytes:
    """Return a template as the pattern of a format."""
    template = observation_template(event_type, before_number=before_number, value=value, timed=timed)
    return b"%b".join(part.replace(b"%", b"%%") for part in template)


def value_of(field: bytes) -> tuple[Value, bytes]:
    """Return what the value of a record is, and how JSON has it: a number keeps its digits."""
    field = field.strip()
    if NUMBER.fullmatch(field) and len(field) <= MAX_NUMBER:
        return Value.NUMBER, field
    if not field:
        return Value.ABSENT, b""
    try:
        text = field.decode()
    except UnicodeDecodeError:
        return Value.UNREADABLE, b""
    return Value.TEXT, orjson.dumps(text)


def time_of(field: bytes) -> bytes | None:
    """Return a time as FHIR writes it; in UTC, if it does not tell. None if it is no ISO 8601 time, or none."""
    found = WHEN.fullmatch(field.strip())
    if not found:
        return None
    date, time, zone = found.groups()
    try:
        datetime.fromisoformat(date.decode())  # is there such a day?
    except ValueError:
        return None
    return b"%bT%b%b" % (date, time, zone or b"Z") if time else bytes(date)


def patient(name: str) -> dict[str, Any]:
    """Return the Patient of a name: what is known of it, and no more."""
    return {"resourceType": "Patient", "id": fhir_id(name), "identifier": [{"value": name}]}
