"""`mockexport serve` by the FHIR Bulk Data API: its options, and any source as FHIR."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
from tests.commands import run_command, serve_command
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH
from tests.server.fhir.walking import KICK_OFF, kick_off, manifest, problems, resources, totals, walk
from tests.sources import ROW, WAIT_SECONDS, csv_body

from mockexport.bulk_wire import fhir_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def served(*arguments: object) -> Iterator[httpx.Client]:
    with serve_command(*arguments) as server, httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        yield client


def test_the_made_up_exports_are_fhir_without_an_option() -> None:
    with served() as client:
        names = [entry["resource"]["name"] for entry in client.get("/fhir/Group").json()["entry"]]
        assert names == ["demo", "small", "large"]
        assert totals(walk(client, "/fhir/Group/demo/$export")) == {"Patient": 4, "Observation": 18784}


def test_a_folder_of_csv_is_fhir(tmp_path: Path) -> None:
    (tmp_path / "my trial").mkdir()
    (tmp_path / "my trial" / "a.csv").write_bytes(csv_body(5, ROW))
    with served("-s", tmp_path) as client:
        assert totals(walk(client, f"/fhir/Group/{fhir_id('my trial')}/$export")) == {"Patient": 1, "Observation": 5}


def test_what_was_taken_in_is_a_bulk_export(tmp_path: Path) -> None:
    readings = [reading(user_id=user, timestamp=f"2024-01-15T10:00:{n:02}Z") for user in "AB" for n in range(5)]
    with served("--data", tmp_path / "readings") as client:
        assert client.post(BATCH, json={"readings": readings}).status_code == 202
        got = walk(client, f"/fhir/Group/{fhir_id('heart_rate')}/$export")
    assert totals(got) == {"Patient": 2, "Observation": 10}
    observations = [resource for kind, body in got if kind == "Observation" for resource in resources(body)]
    assert {observation["code"]["coding"][0]["code"] for observation in observations} == {"8867-4"}


def test_the_options_of_an_export() -> None:
    with served("--export-seconds", "1000", "--fhir-version", "2.0") as client:
        answer = client.get(kick_off(client, "/fhir/Group/demo/$export"))
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "120")
        refused = client.get("/fhir/$export?_until=2025-01-01T00:00:00Z", headers=KICK_OFF)
        assert (refused.status_code, [code for code, _ in problems(refused)]) == (400, ["not-supported"])
    with served("--files-of", "5000") as client:
        document = manifest(client, kick_off(client, "/fhir/Group/demo/$export", _type="Observation"))
        assert [entry["count"] for entry in document["output"]] == [5000, 4014, 5000, 4770]


def test_the_token_and_the_faults_of_the_server_are_those_of_fhir_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cr3t\n")
    with served("--token-file", tmp_path / "token", "--faults", "kickoff:status=429,times=1") as client:
        headers = {**KICK_OFF, "Authorization": "Bearer s3cr3t"}
        assert [client.get("/fhir/$export", headers=headers).status_code for _ in range(2)] == [429, 202]
        assert client.get("/fhir/$export", headers=KICK_OFF).status_code == 401


def test_a_wrong_option_is_named(tmp_path: Path) -> None:
    for wrong in (
        ("--fhir-version", "1.0"),
        ("--export-seconds", "-1"),
        ("--export-seconds", "nan"),
        ("--files-of", "0"),
    ):
        ended = run_command(tmp_path, "serve", "--port", "0", *wrong)
        assert (ended.code, wrong[0] in ended.stderr) == (2, True), ended.stderr
