"""The made-up exports as FHIR: the rows of the CSV, as resources that conform to US Core."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mockexport.errors import NotFoundError
from mockexport.model import Download
from mockexport.sources.mock import MockFhirSource, MockSource
from mockexport.sources.mock.fhir import observation_templates, patient
from mockexport.sources.mock.specs import EVENT_TYPES, EXPORTS, plans

if TYPE_CHECKING:
    from mockexport.sources.mock.specs import Plan

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "mock-exports.md"
FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
FHIR_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?Z")
CODES = {
    "heart_rate": ["8867-4"],
    "spo2": ["59408-5", "2708-6"],
    "bp_sys": ["8480-6"],
    "bp_dia": ["8462-4"],
}
DEMO_PATIENTS = "e5c142a6-0ade-4a6c-b3ef-4141733be1ec"
UNITS = {"heart_rate": "/min", "spo2": "%", "bp_sys": "mm[Hg]", "bp_dia": "mm[Hg]"}
TYPE_OF_CODE = {codes[0]: event_type for event_type, codes in CODES.items()}


@pytest.fixture(scope="module")
def source(kernel: str) -> MockFhirSource:
    return MockFhirSource(kernel)


@pytest.fixture(scope="module")
def demo(source: MockFhirSource) -> list[tuple[Download, bytes]]:
    return [(download, b"".join(source.open(download))) for download in source.downloads("demo")]


def resources(data: bytes) -> list[Any]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data[:-1].split(b"\n")]


def declared(download: Download) -> Any:
    return download.id, download.rows, download.patients, download.start_time, download.end_time


def first_code(resource: Any) -> Any:
    return resource["code"]["coding"][0]["code"]


# ---- One truth in both formats ----


@pytest.mark.gate
def test_the_observations_are_the_rows_of_the_csv(demo: list[tuple[Download, bytes]], kernel: str) -> None:
    csv = MockSource(kernel)
    for download, data in demo[1:]:
        rows = b"".join(csv.open(Download("demo", download.id))).decode().splitlines()[1:]
        found = [
            ",".join((
                resource["subject"]["reference"].removeprefix("Patient/"),
                resource["effectiveDateTime"],
                TYPE_OF_CODE[first_code(resource)],
                str(resource["valueQuantity"]["value"]),
            ))
            for resource in resources(data)
        ]  # fmt: skip
        assert found == rows


def test_downloads_declare_what_those_of_the_csv_do_but_for_types_and_bytes(source: MockFhirSource) -> None:
    for export in source.exports():
        patients, *observations = source.downloads(export)
        csv = MockSource().downloads(export)
        assert [declared(download) for download in observations] == [declared(download) for download in csv]
        assert {d.event_types for d in observations} == {("Observation",)}
        assert {d.format for d in (patients, *observations)} == {"ndjson"}
        assert not {d.etag for d in (patients, *observations)} & {d.etag for d in csv}
        assert len({d.etag for d in (patients, *observations)}) == len(csv) + 1


def test_the_first_download_has_the_patients_of_all_others(source: MockFhirSource) -> None:
    for export in source.exports():
        patients, *observations = source.downloads(export)
        expected = {name for download in observations for name in download.patients or ()}
        assert [resource["id"] for resource in resources(b"".join(source.open(patients)))] == sorted(expected)
        assert patients.event_types == ("Patient",)
        assert patients.patients == tuple(sorted(expected))
        assert patients.rows == len(expected)
        assert uuid.UUID(patients.id).version == 4  # as a server would have it, so that it is the same everywhere
        assert patients.start_time == observations[0].start_time
        assert patients.end_time == observations[-1].end_time


@pytest.mark.parametrize(
    "export", ["demo", pytest.param("small", marks=pytest.mark.slow), pytest.param("large", marks=pytest.mark.slow)]
)
def test_a_whole_export_has_the_golden_totals_under_its_codes(native_generator: Any, golden: Any, export: str) -> None:
    def count(plan: Plan) -> Counter[str]:
        generator = native_generator(plan, observation_templates(plan))
        totals: Counter[str] = Counter()
        while chunk := generator.read(1 << 18):
            for event_type in plan.event_types:
                totals[event_type.name] += chunk.count(b'"coding":[{"system":"http://loinc.org","code":"%b"' %
                                                       CODES[event_type.name][0].encode())  # fmt: skip
        return totals

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(count, plans(export)), start=Counter()) == golden[export]["totals"]


# ---- The bytes ----


@pytest.mark.gate
def test_every_resource_is_a_compact_line_with_its_keys_in_the_order_of_fhir(
    demo: list[tuple[Download, bytes]],
) -> None:
    for _, data in demo:
        for line in data[:-1].split(b"\n"):
            assert json.dumps(json.loads(line), separators=(",", ":")).encode() == line
    keys = [list(resources(data)[0]) for _, data in demo]
    assert keys[0] == ["resourceType", "id", "meta", "identifier", "name", "gender", "birthDate"]
    for observation in keys[1:]:
        assert observation == [
            "resourceType", "id", "meta", "status", "category", "code", "subject", "effectiveDateTime", "valueQuantity",
        ]  # fmt: skip


def test_the_bytes_are_those_that_their_etags_name(source: MockFhirSource) -> None:
    """Where they change, the ETags must change, too."""
    downloads = [*source.downloads("demo"), source.downloads("large")[1]]
    beginnings = [b"".join(islice(source.open(download), 1)) for download in downloads]
    lines = [b"".join(beginning.splitlines(keepends=True)[:100]) for beginning in beginnings]
    assert {d.etag: hashlib.sha256(text).hexdigest()[:16] for d, text in zip(downloads, lines, strict=True)} == {
        "mock-fhir-e5c142a6-0ade-4a6c-b3ef-4141733be1ec": "a66592ebb4165aa0",
        "mock-fhir-f725622a-22ea-4acc-aab8-810ec8b5e2c6": "b29f76748641dafb",
        "mock-fhir-591ef21e-8a64-413a-b506-37a41cb6b896": "891294fef358e5e7",
        "mock-fhir-9fff8c21-185b-40ac-a3e4-203c6fb742d5": "400ffc4ed1940469",
    }


def test_the_resources_are_those_of_the_documentation(source: MockFhirSource) -> None:
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)]
    patients, observations, _ = source.downloads("demo")
    assert shown == [
        json.loads(next(source.open(observations)).partition(b"\n")[0]),
        resources(b"".join(source.open(patients)))[0],
    ]


def test_the_pure_and_the_native_generator_give_the_same_resources(native_generator: Any) -> None:
    assert native_generator
    for download in MockFhirSource("native").downloads("demo"):
        chunks = [b"".join(MockFhirSource(kernel).open(download)) for kernel in ("native", "pure")]
        assert chunks[0] == chunks[1]


@pytest.mark.parametrize(
    ("number", "offset"), [(0, 0), (0, 1), (0, 200), (0, 1193), (0, 2000), (1, 1), (1, 300_000), (2, 10_000_000)]
)
def test_a_download_is_streamed_from_a_byte_on(
    source: MockFhirSource, demo: list[tuple[Download, bytes]], number: int, offset: int
) -> None:
    download, data = demo[number]
    assert b"".join(source.open(download, offset)) == data[offset:]


# ---- What FHIR and US Core ask for ----


@pytest.mark.gate
def test_ids_are_fhir_ids_and_name_one_resource_of_an_export(demo: list[tuple[Download, bytes]]) -> None:
    ids = [resource["id"] for _, data in demo for resource in resources(data)]
    assert len(set(ids)) == len(ids)
    assert all(map(FHIR_ID.fullmatch, ids))
    for spec in EXPORTS.values():
        assert len({plan.id[:8] for plan in plans(spec.id)}) == spec.downloads
        assert all(FHIR_ID.fullmatch(name) for name in spec.pool)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_observation_has_what_the_us_core_vital_signs_profile_requires(
    source: MockFhirSource, event_type: str
) -> None:
    """The elements of its snapshot with a cardinality of 1 or more, and its constraints vs-1 and vs-2."""
    download = source.downloads("large")[1]
    first = next(source.open(download))
    found = next(r for r in resources(first) if first_code(r) == CODES[event_type][0])
    assert found["resourceType"] == "Observation"
    assert found["meta"]["profile"] == ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-vital-signs"]
    assert found["status"] in {"registered", "preliminary", "final", "amended", "corrected", "cancelled"}
    slice_of_category = [
        coding
        for category in found["category"]
        for coding in category["coding"]
        if coding["system"] == "http://terminology.hl7.org/CodeSystem/observation-category"
    ]
    assert [coding["code"] for coding in slice_of_category] == ["vital-signs"]
    assert [coding["code"] for coding in found["code"]["coding"]] == CODES[event_type]
    assert {coding["system"] for coding in found["code"]["coding"]} == {"http://loinc.org"}
    assert all(coding["display"] for coding in found["code"]["coding"])
    assert found["subject"]["reference"].removeprefix("Patient/") in (download.patients or ())
    assert FHIR_DATE_TIME.fullmatch(found["effectiveDateTime"])
    quantity = found["valueQuantity"]
    assert type(quantity["value"]) is int
    assert (quantity["system"], quantity["code"]) == ("http://unitsofmeasure.org", UNITS[event_type])
    assert quantity["unit"]


@pytest.mark.gate
def test_every_effective_time_is_a_fhir_date_time(demo: list[tuple[Download, bytes]]) -> None:
    for _, data in demo[1:]:
        for resource in resources(data):
            assert FHIR_DATE_TIME.fullmatch(resource["effectiveDateTime"])
            assert datetime.fromisoformat(resource["effectiveDateTime"])


@pytest.mark.parametrize("id", ["P001", "S006", "L020", *(f"x{number}" for number in range(50))])
def test_a_patient_has_what_the_us_core_patient_profile_requires(id: str) -> None:
    found = patient(id)
    assert found == patient(id)
    assert (found["resourceType"], found["id"]) == ("Patient", id)
    assert found["meta"]["profile"] == ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]
    assert all(identifier["system"] and identifier["value"] == id for identifier in found["identifier"])
    assert found["identifier"]
    assert all(name["family"] and name["given"][0] for name in found["name"])
    assert found["name"]
    assert found["gender"] in {"male", "female", "other", "unknown"}
    assert date(1930, 1, 1) <= date.fromisoformat(found["birthDate"]) < date(2010, 1, 1)


# ---- The source ----


def test_the_source_is_small_when_pickled_and_stays_what_it_is(source: MockFhirSource) -> None:
    pickled = pickle.dumps(source)
    assert len(pickled) < 250
    arrived = pickle.loads(pickled)
    assert arrived.name == "mock-fhir"
    assert arrived.downloads("demo") == source.downloads("demo")


def test_what_is_unknown_is_told_with_what_there_is(source: MockFhirSource) -> None:
    for call in (source.downloads, lambda export: source.open(Download(export, DEMO_PATIENTS))):
        with pytest.raises(NotFoundError, match="no export 'demos' in source 'mock-fhir'; did you mean 'demo'"):
            call("demos")
    with pytest.raises(NotFoundError, match=f"no download .* in export 'demo'; did you mean '{DEMO_PATIENTS}'"):
        source.open(Download("demo", DEMO_PATIENTS[:-1] + "?"))
    with pytest.raises(NotFoundError, match=r"no download .* in export 'small'"):
        source.open(Download("small", DEMO_PATIENTS))
