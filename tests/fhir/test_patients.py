"""Which patient a resource is of, and which label it has: each form of a reference, each path, each kind of code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fhir.conftest import run

from mockexport.tally.fhir.paths import PATIENT_PATHS

BASE = "https://ehr.example/fhir"
REFERENCES = {
    "Patient/1": "1",
    "Patient/1/_history/2": "1",
    "Patient/a.b-C": "a.b-C",
    f"{BASE}/Patient/1": "1",
    f"{BASE}/Patient/1/_history/2": "1",
    "https://other.example/Patient/1": "https://other.example/Patient/1",
    "https://other.example/Patient/1/_history/2": "https://other.example/Patient/1",
    "urn:uuid:6f9f8a3e": "urn:uuid:6f9f8a3e",
    "urn:oid:1.2/_history/3": "urn:oid:1.2",
    "Group/1": None,
    "Patient/": None,
    "Patient": None,
    "/Patient/1": None,
    "Patient/1/2": None,
    f"{BASE}/Group/1": None,
    "https://other.example/Group/1": None,
    "https://other.example/Patient/": None,
}


def row(**resource: Any) -> bytes:
    return json.dumps(resource).encode()


@pytest.mark.parametrize("form", ["compact", "spaced", "with a display"])
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_names_its_patient(new_tally: Any, reference: str, form: str) -> None:
    subject = {"reference": reference} | ({"display": "x"} if form == "with a display" else {})
    separators = (", ", " : ") if form == "spaced" else (",", ":")
    text = json.dumps({"subject": subject, "resourceType": "Observation"}, separators=separators)
    found = run(new_tally, [text.encode()], base=BASE)
    name = REFERENCES[reference]
    assert found.patients == ({name: {"Observation": 1}} if name else {})
    assert found.unassigned == ({} if name else {"Observation": {"not-a-patient": 1}})


def test_without_a_base_an_absolute_url_is_its_own_name(new_tally: Any) -> None:
    body = row(resourceType="Observation", subject={"reference": f"{BASE}/Patient/1"})
    assert run(new_tally, [body]).patients == {f"{BASE}/Patient/1": {"Observation": 1}}


def test_every_type_has_its_patient_at_its_path(new_tally: Any) -> None:
    for kind, path in PATIENT_PATHS.items():
        value: Any = {"reference": "Patient/1"}
        for key in reversed(path.split(".")):
            value = {key: "1"} if key == "id" else {key: [value]}
        decoys = {key: {"reference": "Patient/2"} for key in ("subject", "patient", "author")} | {"id": "3"}
        assert run(new_tally, [row(resourceType=kind, **(decoys | value))]).patients == {"1": {kind: 1}}


def test_the_first_patient_of_a_list_counts_and_what_follows_is_not_read(new_tally: Any) -> None:
    subjects = [{"reference": "Group/1"}, {}, {"reference": "Patient/1"}, {"reference": "Patient/2"}]
    assert run(new_tally, [row(resourceType="Account", subject=subjects)]).patients == {"1": {"Account": 1}}
    twice = b'{"resourceType":"Account","subject":[{"reference":"Patient/1"},{"reference":"a","reference":"b"}]}'
    assert run(new_tally, [twice]).patients == {"1": {"Account": 1}}
    participants = [{"actor": {"reference": "Device/1"}}, {}, {"actor": {"reference": "Patient/7"}}]
    assert run(new_tally, [row(resourceType="Appointment", participant=participants)]).patients == {
        "7": {"Appointment": 1}
    }


def test_without_a_patient_the_reason_of_the_first_reference_is_told(new_tally: Any) -> None:
    subjects = [{"reference": "#p"}, {"reference": "Group/1"}]
    found = run(new_tally, [row(resourceType="Account", subject=subjects)])
    assert found.unassigned == {"Account": {"contained": 1}}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ({"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "x"}, "http://loinc.org|8867-4"),
        ({"coding": [{"code": "8867-4"}, {"system": "s", "code": "c"}]}, "8867-4"),
        ({"coding": [{"system": "s"}], "text": "Heart rate"}, "text:Heart rate"),
        ({"coding": [], "text": "Zoë"}, "text:Zoë"),
        ([{"text": "first"}, {"text": "second"}], "text:first"),
        (["food", "medication"], "food"),
        ("active", "active"),
        ({"coding": [{"system": "s", "code": ""}]}, "Observation"),
        ({"concept": {"text": "x"}}, "Observation"),
        ([], "Observation"),
        (None, "Observation"),
        (7, "Observation"),
    ],
)
@pytest.mark.parametrize("by", ["code", "category"])
def test_a_label_is_the_first_code_or_the_text_or_the_type(new_tally: Any, by: str, value: Any, label: str) -> None:
    body = row(resourceType="Observation", subject={"reference": "Patient/1"}, **{by: value})
    assert run(new_tally, [body], by=by).patients == {"1": {label: 1}}
    assert run(new_tally, [body]).patients == {"1": {"Observation": 1}}


def test_an_escape_counts_wherever_it_stands_in_a_row(new_tally: Any) -> None:
    """The fast path takes 64 bytes at a time: an escaped quote, and a run of backslashes, lie across two of them."""
    for place in range(40, 140):
        note = "x" * (place - 9) + '\\"}{' + "y" * 61 + '\\\\\\"[' + "z" * 40 + "\\\\\\\\"
        body = b'{"note":"%b","subject":{"reference":"Patient/1"},"resourceType":"Observation"}' % note.encode()
        json.loads(body)
        assert run(new_tally, [body]).patients == {"1": {"Observation": 1}}
