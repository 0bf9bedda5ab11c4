"""The made-up exports as FHIR R4: a Patient for each patient, and an Observation for each row of the CSV.

docs/mock-exports.md tells the same in words. The Observations conform to the US Core Vital Signs profile, the Patients
to the US Core Patient profile.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from mockexport.sources.mock.reference import Template
    from mockexport.sources.mock.specs import Plan

__all__ = ["VITAL_SIGNS", "VitalSign", "json_line", "observation", "observation_templates", "patient"]

US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"


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


def json_line(resource: dict[str, Any]) -> bytes:
    """Return a resource as a line of NDJSON: compact, its keys in their order."""
    return orjson.dumps(resource, option=orjson.OPT_APPEND_NEWLINE)


# ---- Observations ----


def observation(download: str, number: int | str, patient: str, time: str, event_type: str, value: int | str) -> Any:
    """Return the Observation of row `number`, from 0, of a download; `time` is without its `Z`."""
    sign = VITAL_SIGNS[event_type]
    return {
        "resourceType": "Observation",
        "id": f"{download[:8]}-{number}",
        "meta": {"profile": [f"{US_CORE}us-core-vital-signs"]},
        "status": "final",
        "category": [{"coding": [{"system": CATEGORIES, "code": "vital-signs", "display": "Vital Signs"}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": name} for code, name in sign.codes]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": f"{time}Z",
        "valueQuantity": {"value": value, "unit": sign.unit, "system": UCUM, "code": sign.unit_code},
    }


def observation_templates(plan: Plan) -> tuple[Template, ...]:
    """Return the template of each event type, by which a generator writes Observations.

    The ids of patients must be FHIR ids, which JSON has as they are.
    """
    return tuple(_template(plan.id, event_type.name) for event_type in plan.event_types)


def _template(download: str, event_type: str) -> Template:
    """Cut an Observation where its number, patient, time and value stand."""
    line = json_line(observation(download, "<number>", "<patient>", "<time>", event_type, "<value>"))
    start, code, time, value, unit = re.split(rb'<number>|<patient>|<time>|"<value>"', line)
    return start, code, time, value, unit


# ---- Patients ----

FAMILY_NAMES = ("Adams", "Baker", "Clark", "Davis", "Evans", "Foster", "Green", "Hill",
                "Irving", "Jones", "King", "Lewis", "Moore", "Nelson", "Owens", "Parker")  # fmt: skip
GIVEN_NAMES = ("Alex", "Casey", "Dana", "Jamie", "Jordan", "Kim", "Robin", "Taylor")
GENDERS = ("female", "male")
FIRST_BIRTH_DATE = date(1930, 1, 1)
BIRTH_DATES = 80 * 365


def patient(id: str) -> dict[str, Any]:
    """Return a patient's Patient, made up from the SHA-256 of the id."""
    digest = hashlib.sha256(id.encode()).digest()
    birth_date = FIRST_BIRTH_DATE + timedelta(days=int.from_bytes(digest[3:7], "big") % BIRTH_DATES)
    return {
        "resourceType": "Patient",
        "id": id,
        "meta": {"profile": [f"{US_CORE}us-core-patient"]},
        "identifier": [{"system": "http://example.org/mock-exports/patients", "value": id}],
        "name": [
            {
                "family": FAMILY_NAMES[digest[0] % len(FAMILY_NAMES)],
                "given": [GIVEN_NAMES[digest[1] % len(GIVEN_NAMES)]],
            }
        ],
        "gender": GENDERS[digest[2] % len(GENDERS)],
        "birthDate": birth_date.isoformat(),
    }
