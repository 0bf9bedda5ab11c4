"""An export by the FHIR Bulk Data API, from its start to its end, as a plain client sees it."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.fhir.folders import COUNTS, bulk_data_client
from tests.server.fhir.walking import (
    FILES,
    KICK_OFF,
    OTHER,
    STATUS,
    Clock,
    FhirSource,
    files,
    kick_off,
    manifest,
    problems,
    totals,
    walk,
)
from tests.sources import ROW, csv_body

from mockexport.bulk_manifest import parse_bulk_manifest
from mockexport.bulk_wire import fhir_id
from mockexport.pipeline.counting import count
from mockexport.server.fhir.jobs import LIFETIME
from mockexport.shared import InMemory
from mockexport.sources.folder import FolderSource
from mockexport.sources.mock import MockFhirSource

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.fhir.conftest import ServeFhir

ALL = [*FILES.values(), *OTHER.values()]


def test_a_group_has_the_files_of_its_export(serve_fhir: ServeFhir) -> None:
    assert walk(serve_fhir(), "/fhir/Group/first/$export") == list(FILES.values())


def test_the_system_has_the_files_of_all_groups(serve_fhir: ServeFhir) -> None:
    assert walk(serve_fhir()) == ALL


def test_the_patients_have_the_files_of_all_groups_but_those_of_types_that_are_not_about_patients(
    serve_fhir: ServeFhir,
) -> None:
    assert walk(serve_fhir(), "/fhir/Patient/$export") == [file for file in ALL if file[0] != "Organization"]


def test_the_dollar_may_be_quoted(serve_fhir: ServeFhir) -> None:
    assert walk(serve_fhir(), "/fhir/%24export") == ALL


def test_a_folder_of_an_export_is_exported_again_with_the_same_counts(serve_fhir: ServeFhir, tmp_path: Path) -> None:
    bulk_data_client(tmp_path / "kept")
    source = FolderSource(tmp_path)
    got = walk(serve_fhir(source), "/fhir/Group/kept/$export")
    assert totals(got) == count(source, "kept").totals == {"Patient": 2, "Observation": 3}
    assert count(source, "kept").patients == COUNTS


@pytest.mark.gate
def test_the_made_up_exports_are_what_the_source_has(serve_fhir: ServeFhir) -> None:
    source = MockFhirSource()
    got = walk(serve_fhir(source), "/fhir/Group/demo/$export")
    assert [body for _, body in got] == [b"".join(source.open(download)) for download in source.downloads("demo")]
    assert totals(got) == {"Patient": 4, "Observation": 18784}


def test_a_manifest_says_what_the_ig_requires(serve_fhir: ServeFhir) -> None:
    clock = Clock()
    client = serve_fhir(documents=InMemory(clock))
    status = kick_off(client, "/fhir/Group/first/$export", _type="Patient,Organization")
    document = manifest(client, status)
    base = str(client.base_url.join("/fhir"))
    assert document == {
        "transactionTime": datetime.fromtimestamp(clock.now, UTC).replace(tzinfo=None).isoformat() + "Z",
        "request": f"{base}/Group/first/$export?_type=Patient%2COrganization",
        "requiresAccessToken": False,
        "output": [
            {"type": "Patient", "url": f"{status}/1.Patient.ndjson", "count": 2},
            {"type": "Organization", "url": f"{status}/1.Organization.ndjson", "count": 3},
        ],
        "deleted": [],
        "error": [],
    }
    assert parse_bulk_manifest(document).base == base


def test_a_file_without_a_declared_number_of_resources_has_no_count(serve_fhir: ServeFhir, tmp_path: Path) -> None:
    bulk_data_client(tmp_path / "kept")
    text = (tmp_path / "kept" / "manifest.json").read_text()
    (tmp_path / "kept" / "manifest.json").write_text(text.replace('"count"', '"countless"'))
    client = serve_fhir(FolderSource(tmp_path))
    document = manifest(client, kick_off(client, "/fhir/Group/kept/$export"))
    assert [set(entry) for entry in document["output"]] == [{"type", "url"}] * 3


def test_files_are_numbered_by_type_across_groups(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    document = manifest(client, kick_off(client))
    assert [entry["url"].rpartition("/")[2] for entry in document["output"]] == [
        "1.Patient.ndjson",
        "1.Observation.ndjson",
        "2.Observation.ndjson",
        "1.Organization.ndjson",
        "2.Patient.ndjson",
    ]


def test_a_file_without_resources_is_left_out(serve_fhir: ServeFhir) -> None:
    source = FhirSource({}, groups={"g": {"p": FILES["p"], "none": ("Observation", b"")}})
    assert walk(serve_fhir(source)) == [FILES["p"]]


def test_files_are_compressed_where_the_client_accepts_it(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    entry = manifest(client, kick_off(client))["output"][1]
    with client.stream("GET", entry["url"], headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == FILES["o1"][1]


def test_a_file_is_resumed_under_its_etag(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    url = manifest(client, kick_off(client))["output"][1]["url"]
    etag = client.get(url).headers["etag"]
    rest = client.get(url, headers={"Range": "bytes=50-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, FILES["o1"][1][50:])


# Progress.


def test_an_export_takes_its_time_and_tells_how_far_it_is(serve_fhir: ServeFhir) -> None:
    clock = Clock()
    client = serve_fhir(export_seconds=50.0, documents=InMemory(clock))
    status = kick_off(client)
    told: list[tuple[float, str, str]] = []
    for seconds in (0.0, 12.5, 49.5):
        clock.now += seconds - (told[-1][0] if told else 0)
        answer = client.get(status, headers=STATUS)
        told.append((seconds, answer.headers["x-progress"], answer.headers["retry-after"]))
        assert (answer.status_code, answer.content) == (202, b"")
    assert told == [(0.0, "0% complete", "50"), (12.5, "25% complete", "38"), (49.5, "99% complete", "1")]
    assert client.get(f"{status}/1.Patient.ndjson").status_code == 404
    clock.now += 0.5
    assert files(client, manifest(client, status)) == ALL


def test_a_wait_is_two_minutes_at_most(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(export_seconds=7 * 86400.0)
    assert client.get(kick_off(client)).headers["retry-after"] == "120"


def test_an_export_says_when_it_expires_and_then_does(serve_fhir: ServeFhir) -> None:
    clock = Clock()
    client = serve_fhir(documents=InMemory(clock))
    status = kick_off(client)
    expires = parsedate_to_datetime(client.get(status).headers["expires"]).timestamp()
    assert int(clock.now + LIFETIME) == expires
    clock.now += LIFETIME - 1
    url = manifest(client, status)["output"][0]["url"]
    clock.now += LIFETIME - 1
    assert client.get(url).status_code == 200, "it is kept for as long as a client uses it"
    clock.now += LIFETIME
    for path in (status, url):
        answer = client.get(path)
        assert (answer.status_code, [code for code, _ in problems(answer)]) == (404, ["not-found"])


def test_a_deleted_export_is_gone(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    status = kick_off(client)
    url = manifest(client, status)["output"][0]["url"]
    assert client.delete(status).status_code == 202
    for answer in (client.get(status), client.get(url), client.delete(status)):
        assert (answer.status_code, [code for code, _ in problems(answer)]) == (404, ["not-found"])


def test_an_export_of_another_run_of_the_server_is_unknown(serve_fhir: ServeFhir) -> None:
    source = FhirSource({})
    status = kick_off(serve_fhir(source))
    answer = serve_fhir(source).get(httpx.URL(status).path)
    assert (answer.status_code, [code for code, _ in problems(answer)]) == (404, ["not-found"])


def test_the_number_of_exports_is_bounded(serve_fhir: ServeFhir) -> None:
    clock = Clock()
    client = serve_fhir(most_jobs=2, documents=InMemory(clock))
    first = kick_off(client)
    kick_off(client)
    refused = client.get("/fhir/$export", headers=KICK_OFF)
    assert (refused.status_code, [code for code, _ in problems(refused)]) == (429, ["throttled"])
    assert refused.headers["retry-after"] == str(int(LIFETIME))
    client.delete(first)
    kick_off(client)
    clock.now += LIFETIME
    kick_off(client)


def test_the_ids_of_exports_do_not_repeat(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    ids = {kick_off(client).rpartition("/")[2] for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 22, "128 bits"


# A manifest in parts.

MANY = {f"o{number}": FILES["o1"] for number in range(120)}


def pages(client: httpx.Client, status: str) -> list[list[str]]:
    """The URLs on each page of a manifest, as far as it goes."""
    found, url = [], status
    while url:
        document = client.get(url).json()
        found.append([entry["url"] for entry in document["output"]])
        url = document.get("link", [{"url": ""}])[0]["url"]
    return found


def test_a_manifest_comes_in_pages_where_the_client_allows_it(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(FhirSource({}, groups={"g": MANY}))
    whole = manifest(client, kick_off(client))
    assert ("link" in whole, len(whole["output"])) == (False, 120)
    found = pages(client, kick_off(client, allowPartialManifests="true"))
    assert [len(page) for page in found] == [50, 50, 20]
    assert [url.rpartition("/")[2] for page in found for url in page] == [
        entry["url"].rpartition("/")[2] for entry in whole["output"]
    ]


def test_pages_appear_as_the_export_goes_on_and_never_change(serve_fhir: ServeFhir) -> None:
    clock = Clock()
    client = serve_fhir(FhirSource({}, groups={"g": MANY}), export_seconds=120.0, documents=InMemory(clock))
    status = kick_off(client, allowPartialManifests="true")
    assert client.get(status).content == b""
    clock.now += 60
    early = client.get(status)
    assert (early.status_code, early.headers["x-progress"], "link" in early.json()) == (202, "50% complete", False)
    assert client.get(early.json()["output"][0]["url"]).content == FILES["o1"][1]
    assert client.get(f"{status}/manifests/2").status_code == 404
    clock.now += 59
    assert [len(page) for page in pages(client, status)] == [50, 50]
    clock.now += 1
    late = client.get(status)
    assert late.status_code == 200
    assert {**early.json(), "link": late.json()["link"]} == late.json()
    assert [len(page) for page in pages(client, status)] == [50, 50, 20]


def test_version_2_knows_no_parts(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(version="2.0")
    for name in ("allowPartialManifests", "_until"):
        refused = client.get("/fhir/$export", params={name: "true"}, headers=KICK_OFF)
        assert (refused.status_code, problems(refused)) == (
            400,
            [("not-supported", f"The parameter '{name}' is not supported")],
        )


# Files of so many resources.


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100, 10_000])
@pytest.mark.parametrize("order", [1, -1])
def test_files_of_n_resources_are_those_of_the_source_cut_between_rows(
    serve_fhir: ServeFhir, chunk_bytes: int, order: int
) -> None:
    body = b"\n" + FILES["org"][1].replace(b"\n", b"\r\n \n\n", 1) + FILES["org"][1].rstrip()
    source = FhirSource({}, groups={"g": {"p": FILES["p"], "many": ("Organization", body)}}, chunk_bytes=chunk_bytes)
    client = serve_fhir(source, files_of=2)
    document = manifest(client, kick_off(client))
    document["output"] = document["output"][::order]
    got = files(client, document)[::order]
    assert [entry["count"] for entry in document["output"]] == [2, 2, 2, 2]
    assert b"".join(part for kind, part in got if kind == "Organization") == body


def test_a_part_is_resumed_in_the_middle(serve_fhir: ServeFhir) -> None:
    client = serve_fhir(files_of=2)
    entries = manifest(client, kick_off(client))["output"]
    url = next(entry["url"] for entry in entries if entry["url"].endswith("2.Organization.ndjson"))
    whole = client.get(url)
    assert whole.content == FILES["org"][1].splitlines(keepends=True)[2]
    rest = client.get(url, headers={"Range": "bytes=5-", "If-Range": whole.headers["etag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[5:])


def test_parts_in_order_read_each_byte_once(serve_fhir: ServeFhir) -> None:
    source = FhirSource({}, groups={"g": {"org": FILES["org"]}})
    walk(serve_fhir(source, files_of=1))
    row = len(FILES["org"][1]) // 3
    assert [offset for _, offset in source.places] == [0, row, 2 * row]


# What is not FHIR.


def test_a_source_of_csv_cannot_be_exported_and_says_so(serve_fhir: ServeFhir) -> None:
    source = FhirSource({}, groups={"g": {"c": ("heart_rate", csv_body(2, ROW))}}, format="csv")
    refused = serve_fhir(source).get("/fhir/Group/g/$export", headers=KICK_OFF)
    told = "The records of 'c' in 'g' are not FHIR, so they cannot be exported as FHIR"
    assert (refused.status_code, problems(refused)) == (501, [("not-supported", told)])


def test_an_id_that_is_no_fhir_id_is_a_uuid_and_its_name_is_kept(serve_fhir: ServeFhir) -> None:
    client = serve_fhir()
    group = client.get("/fhir/Group", params={"name": "A sec"}).json()["entry"][0]["resource"]
    assert (group["id"], group["name"]) == (fhir_id("a second"), "a second")
    assert walk(client, f"/fhir/Group/{group['id']}/$export") == list(OTHER.values())


def test_the_same_id_has_the_same_uuid_everywhere() -> None:
    assert fhir_id("a second") == "eb9e706a-eecd-5b29-907f-b8babf92ff5b"
    assert [fhir_id(text) for text in ("demo", "A-1.b", "x" * 64)] == ["demo", "A-1.b", "x" * 64]
    assert len({fhir_id(text) for text in ("", "a_b", "x" * 65, "é", "a/b")}) == 5


def test_a_file_that_changes_after_the_export_began_is_an_error_and_never_other_bytes(
    serve_fhir: ServeFhir, tmp_path: Path
) -> None:
    names = bulk_data_client(tmp_path / "kept")
    client = serve_fhir(FolderSource(tmp_path))
    urls = [entry["url"] for entry in manifest(client, kick_off(client))["output"]]
    (tmp_path / "kept" / names[0]).write_bytes(b'{"resourceType":"Patient","id":"3"}\n')
    (tmp_path / "kept" / names[1]).unlink()
    for url, status in zip(urls, (502, 502, 200), strict=True):
        answer = client.get(url)
        assert answer.status_code == status, answer.text
        assert status == 200 or problems(answer)
