"""The made-up exports as FHIR R4: a Patient for each patient, and an Observation for each row of the CSV.

docs/mock-exports.md tells the same in words. The Observations conform to the US Core Vital Signs profile, the Patients
to the US Core Patient profile.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from mockexport.sources.observations import US_CORE, observation_template

if TYPE_CHECKING:
    from mockexport.sources.mock.reference import Template
    from mockexport.sources.mock.specs import Plan

__all__ = ["observation_templates", "patient"]


def observation_templates(plan: Plan) -> tuple[Template, ...]:
    """Return the template of each event type, by which a generator writes Observations.

    The ids of patients must be FHIR ids, which JSON has as they are.
    """
    return tuple(_template(plan.id, event_type.name) for event_type in plan.event_types)


def _template(download: str, event_type: str) -> Template:
    start, patient, time, value, end = observation_template(
        event_type, before_number=f"{download[:8]}-", after_time="Z"
    )
    return start, patient, time, value, end


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
