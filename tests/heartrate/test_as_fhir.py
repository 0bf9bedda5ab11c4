"""Heart rates as FHIR: an Observation for each reading that was kept, and a Patient for each user."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.heartrate.bodies import dumps, reading

from mockexport import count
from mockexport.bulk_wire import fhir_id
from mockexport.heartrate.export import EXPORT, HeartRateSource
from mockexport.heartrate.ingest.validation import read_batch
from mockexport.heartrate.service import HeartRate
from mockexport.sources import AsFhir
from mockexport.tally import FhirFormat

if TYPE_CHECKING:
    from pathlib import Path

WAIT_SECONDS = 30
HEART_RATE = "http://loinc.org|8867-4"


def test_every_reading_is_an_observation_of_its_user(tmp_path: Path) -> None:
    users = ["A", "B", "user 1/Zoë"]
    readings = [
        reading(user_id=user, timestamp=f"2024-01-{day}T10:00:0{n}.5Z", heart_rate=60 + n + n / 2)
        for day in (14, 15)
        for user in users
        for n in range(5)
    ]
    with HeartRate(tmp_path / "readings") as service:
        service.accept(read_batch(dumps({"readings": readings})).readings).result(WAIT_SECONDS)
        source = HeartRateSource("readings", service)
        view = AsFhir(source)
        assert count(source, EXPORT).totals == {"heart_rate": 30}
        found = count(view, EXPORT, fhir=FhirFormat(by="code", strict=True))
        assert found.patients == {fhir_id(user): {"Patient": 1, HEART_RATE: 10} for user in users}
        patients, *days = view.downloads(EXPORT)
        assert (patients.rows, patients.patients) == (3, tuple(sorted(users)))
        assert [(day.id, day.rows) for day in days] == [("2024-01-14", 15), ("2024-01-15", 15)]
        bodies = [b"".join(view.open(day)) for day in days]
    resources = [json.loads(line) for body in bodies for line in body.splitlines()]
    assert len({resource["id"] for resource in resources}) == 30
    assert {
        (r["subject"]["reference"].removeprefix("Patient/"), r["effectiveDateTime"], r["valueQuantity"]["value"])
        for r in resources
    } == {(fhir_id(r["user_id"]), r["timestamp"].replace(".5Z", ".500000Z"), r["heart_rate"]) for r in readings}
