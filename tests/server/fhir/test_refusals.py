"""What the FHIR API refuses, and how: each error is an OperationOutcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.server.fhir.walking import FILE, FILES, KICK_OFF, FhirSource, files, kick_off, manifest, problems, resources
from tests.server.serving import PLAIN, serving
from tests.sources import WAIT_SECONDS

from mockexport.errors import UnreachableError
from mockexport.server.fhir.r4 import RESOURCE_TYPES
from mockexport.tally import PATIENT_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.server.fhir.conftest import ServeFhir

LENIENT = {**KICK_OFF, "Prefer": "respond-async, handling=lenient"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """One server for all tests that change nothing of it."""
    with serving(FhirSource({})) as url, httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN) as client:
        yield client


# Headers.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Prefer": "handling=lenient"}, 400),
        ({"Prefer": "respond-async"}, 202),
        ({"Prefer": "Respond-Async; wait=10"}, 202),
        ({"Prefer": "respond-async", "Accept": "application/fhir+json"}, 202),
        ({"Prefer": "respond-async", "Accept": "application/fhir+json;q=0.9, text/html"}, 202),
        ({"Prefer": "respond-async", "Accept": "application/*"}, 202),
        ({"Prefer": "respond-async", "Accept": "text/html"}, 406),
        ({"Prefer": "respond-async", "Accept": "application/fhir+xml"}, 406),
        ({"Prefer": "respond-async", "Accept": "application/json"}, 406),
    ],
)
def test_a_kick_off_needs_its_headers(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = client.get("/fhir/$export", headers=headers)
    assert answer.status_code == status
    assert problems(answer)


def test_the_status_is_json_and_a_file_is_ndjson(client: httpx.Client) -> None:
    status = kick_off(client)
    url = manifest(client, status)["output"][0]["url"]
    for path in (status, url):
        answer = client.get(path, headers={"Accept": "text/csv"})
        assert (answer.status_code, [code for code, _ in problems(answer)]) == (406, ["not-supported"])


def test_head_starts_no_export(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(most_jobs=1)
    assert client.head("/fhir/$export", headers=KICK_OFF).status_code == 405
    kick_off(client)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/fhir/nowhere", 404),
        ("GET", "/fhir/", 404),
        ("PUT", "/fhir/$export", 405),
        ("DELETE", "/fhir/metadata", 405),
        ("GET", "/fhir/Group/none", 404),
        ("GET", "/fhir/Group/none/$export", 404),
        ("GET", "/fhir/jobs/none", 404),
        ("DELETE", "/fhir/jobs/none", 404),
        ("GET", "/fhir/jobs/none/1.Patient.ndjson", 404),
        ("GET", "/fhir/.well-known/smart-configuration", 404),
        ("POST", "/fhir/token", 404),
    ],
)
def test_what_is_not_there_is_an_operation_outcome(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, headers={"Prefer": "respond-async"})
    assert (answer.status_code, len(problems(answer))) == (status, 1)


def test_an_error_of_the_source_is_told_at_the_kick_off(serve_fhir: ServeFhir) -> None:
    class DeadSource(FhirSource):
        def downloads(self, export: str) -> Sequence[Any]:  # noqa: ARG002
            raise UnreachableError("the disk is gone")

    answer = serve_fhir(DeadSource({})).get("/fhir/$export", headers=KICK_OFF)
    assert (answer.status_code, problems(answer)) == (502, [("exception", "the disk is gone")])


# Parameters.


@pytest.mark.parametrize(
    "value", ["ndjson", "application/ndjson", "application/fhir+ndjson", "application/fhir%2Bndjson"]
)
def test_the_spellings_of_ndjson_are_accepted(client: httpx.Client, value: str) -> None:
    assert client.get(f"/fhir/$export?_outputFormat={value}", headers=KICK_OFF).status_code == 202


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("_outputFormat=text/csv", "value", "'text/csv'"),
        ("_since=yesterday", "value", "'yesterday'"),
        ("_since=2025-06-26", "value", "'2025-06-26'"),
        ("_until=2025-06-26T00:00:00", "value", "'2025-06-26T00:00:00'"),
        ("_type=Patients", "not-supported", "'Patients'"),
        ("_type=Patient,observation", "not-supported", "'observation'"),
        ("_typeFilter=Patient%3Factive%3Dtrue", "not-supported", "'_typeFilter'"),
        ("_elements=id", "not-supported", "'_elements'"),
        ("patient=Patient/1", "not-supported", "'patient'"),
        ("includeAssociatedData=LatestProvenanceResources", "not-supported", "'includeAssociatedData'"),
        ("organizeOutputBy=Patient", "not-supported", "'organizeOutputBy'"),
        ("type=Patient", "not-supported", "'type'"),
        ("allowPartialManifests=yes", "value", "'yes'"),
        ("a%0d%0ab=1", "not-supported", r"'a\r\nb'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(client: httpx.Client, query: str, code: str, named: str) -> None:
    answer = client.get(f"/fhir/$export?{query}", headers=KICK_OFF)
    ((told, diagnostics),) = problems(answer)
    assert (answer.status_code, told) == (400, code)
    assert named in diagnostics


def test_each_thing_that_is_wrong_is_an_issue(client: httpx.Client) -> None:
    answer = client.get("/fhir/$export?_elements=id&_type=Patients&organizeOutputBy=Patient", headers=KICK_OFF)
    assert len(problems(answer)) == 3


@pytest.mark.parametrize("zone", ["Z", "%2B02:00", "+02:00", "-05:30"])
def test_an_instant_has_any_zone_and_nothing_is_left_out_for_it(client: httpx.Client, zone: str) -> None:
    """The server knows of no resource when it was last updated, and so may export it whatever the instant is."""
    query = f"_since=2025-06-26T00:00:00.123{zone}&_until=2025-06-27T23:59:59{zone}"
    answer = client.get(f"/fhir/Group/first/$export?{query}", headers=KICK_OFF)
    assert len(manifest(client, answer.headers["content-location"])["output"]) == len(FILES)


def test_the_lenient_get_their_export_and_a_file_of_warnings(client: httpx.Client) -> None:
    answer = client.get("/fhir/Group/first/$export?_elements=id&_type=Patient,Patients", headers=LENIENT)
    assert answer.status_code == 202
    document = manifest(client, answer.headers["content-location"])
    assert files(client, document) == [FILES["p"]]
    ((kind, url, number),) = [(entry["type"], entry["url"], entry["count"]) for entry in document["error"]]
    told = client.get(url, headers=FILE)
    assert (kind, number, told.headers["content-type"]) == ("OperationOutcome", 2, "application/fhir+ndjson")
    issues = [issue for outcome in resources(told.content) for issue in outcome["issue"]]
    assert {issue["severity"] for issue in issues} == {"warning"}
    assert "'_elements'" in issues[0]["diagnostics"]
    assert "'Patients'" in issues[1]["diagnostics"]


def test_types_are_filtered_whether_repeated_or_with_commas(client: httpx.Client) -> None:
    for query in ("_type=Patient,Organization", "_type=Patient&_type=Organization"):
        answer = client.get(f"/fhir/Group/first/$export?{query}", headers=KICK_OFF)
        assert files(client, manifest(client, answer.headers["content-location"])) == [FILES["p"], FILES["org"]]


def test_a_type_that_there_is_none_of_is_an_empty_export(client: httpx.Client) -> None:
    assert manifest(client, kick_off(client, _type="Condition"))["output"] == []


def test_patients_have_no_organizations(client: httpx.Client) -> None:
    answer = client.get("/fhir/Patient/$export?_type=Organization", headers=KICK_OFF)
    assert (answer.status_code, [code for code, _ in problems(answer)]) == (400, ["not-supported"])


def test_the_types_are_those_of_r4() -> None:
    assert len(RESOURCE_TYPES) == 146
    assert PATIENT_PATHS.keys() < RESOURCE_TYPES


# A Parameters resource.


def post(client: httpx.Client, *parameters: Any, path: str = "/fhir/Group/first/$export") -> httpx.Response:
    return client.post(path, json={"resourceType": "Parameters", "parameter": parameters}, headers=KICK_OFF)


def test_parameters_may_be_posted(client: httpx.Client) -> None:
    answer = post(
        client,
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Organization"},
        {"name": "_since", "valueInstant": "2025-06-26T00:00:00Z"},
        {"name": "allowPartialManifests", "valueBoolean": True},
    )
    document = manifest(client, answer.headers["content-location"])
    assert files(client, document) == [FILES["p"], FILES["org"]]
    assert document["request"] == str(client.base_url.join("/fhir/Group/first/$export"))


def test_a_post_needs_no_body(client: httpx.Client) -> None:
    assert client.post("/fhir/$export", headers=KICK_OFF).status_code == 202


def test_patients_that_are_named_are_not_supported(client: httpx.Client) -> None:
    answer = post(client, {"name": "patient", "valueReference": {"reference": "Patient/1"}})
    assert (answer.status_code, problems(answer)) == (
        400,
        [("not-supported", "The parameter 'patient' is not supported")],
    )


@pytest.mark.parametrize(
    "body",
    [
        b"_type=Patient",
        b"[]",
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Parameters", "parameter": 5}',
        b'{"resourceType": "Parameters", "parameter": [{"valueString": "Patient"}]}',
        b'{"resourceType": "Parameters", "parameter": [{"name": "_type"}]}',
        b'{"resourceType": "Parameters", "parameter": ["_type"]}',
        b'{"resourceType": "Parameters", "parameter": [{"name": "patient", "valueReference": {}}]}',
    ],
)
def test_a_body_that_is_no_parameters_resource_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/fhir/$export", content=body, headers={**KICK_OFF, "Content-Type": "application/fhir+json"})
    assert (answer.status_code, [code for code, _ in problems(answer)]) == (400, ["structure"])


def test_a_body_of_another_kind_or_too_long_is_refused(client: httpx.Client) -> None:
    form = client.post("/fhir/$export", data={"_type": "Patient"}, headers=KICK_OFF)
    assert (form.status_code, len(problems(form))) == (415, 1)
    long = client.post("/fhir/$export", content=b" " * 2_000_000, headers=KICK_OFF)
    assert (long.status_code, [code for code, _ in problems(long)]) == (413, ["too-long"])


# Tokens, and what is open.

TOKEN = "s3cr3t"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_a_token_is_needed_for_all_but_what_the_server_can_do(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(token=TOKEN)
    status = kick_off_with_token(client)
    url = client.get(status, headers=BEARER).json()["output"][0]["url"]
    for path in ("/fhir/$export", "/fhir/Patient/$export", "/fhir/Group", "/fhir/Group/first", status, url):
        refused = client.get(path, headers=KICK_OFF)
        assert (refused.status_code, [code for code, _ in problems(refused)]) == (401, ["login"])
        assert refused.headers["www-authenticate"] == "Bearer"
    assert client.delete(status).status_code == 401
    assert client.get(url, headers=BEARER).content == FILES["p"][1]
    assert client.get("/fhir/metadata").json()["rest"][0]["security"]


def kick_off_with_token(client: httpx.Client) -> str:
    return client.get("/fhir/$export", headers={**KICK_OFF, **BEARER}).headers["content-location"]


def test_the_manifest_says_that_a_token_is_required(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(token=TOKEN)
    assert client.get(kick_off_with_token(client), headers=BEARER).json()["requiresAccessToken"] is True


def test_the_capability_statement_names_the_operations_and_the_guide(serve_fhir: ServeFhir) -> None:
    document = serve_fhir(version="2.0").get("/fhir/metadata").json()
    rest = document["rest"][0]
    ig = "http://hl7.org/fhir/uv/bulkdata"
    assert document["instantiates"] == [f"{ig}/CapabilityStatement/bulk-data"]
    assert document["implementationGuide"][0].endswith("|2.0.0")
    operations = [*rest["operation"], *(operation for kind in rest["resource"] for operation in kind["operation"])]
    assert [(operation["name"], operation["definition"]) for operation in operations] == [
        ("export", f"{ig}/OperationDefinition/{name}") for name in ("export", "group-export", "patient-export")
    ]
    assert "security" not in rest


def test_groups_are_searched(client: httpx.Client) -> None:
    def found(**query: str) -> list[str]:
        bundle = client.get("/fhir/Group", params=query).json()
        assert (bundle["type"], bundle["total"]) == ("searchset", len(bundle["entry"]))
        for entry in bundle["entry"]:
            assert client.get(entry["fullUrl"]).json() == entry["resource"]
        return [entry["resource"]["name"] for entry in bundle["entry"]]

    assert found() == ["first", "a second"]
    assert (found(name="FIR"), found(_id="first,x"), found(_id="x"), found(name="x")) == (["first"], ["first"], [], [])
