"""`mockexport serve` by the FHIR Bulk Data API: its options, and any source as FHIR."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH
from tests.server.fhir.walking import KICK_OFF, kick_off, manifest, problems, resources, totals, walk
from tests.smart.keys import CLIENT, write_clients, write_key
from tests.sources import ROW, WAIT_SECONDS, csv_body

from mockexport.bulk_wire import fhir_id
from mockexport.smart import KeyFile, Send, SmartTokens
from mockexport.smart.tokens import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@contextmanager
def served(*arguments: object) -> Iterator[httpx.Client]:
    with serve_command(*arguments) as server, httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        yield client


@pytest.mark.gate
def test_the_made_up_exports_are_fhir_without_an_option() -> None:
    with served() as client:
        names = [entry["resource"]["name"] for entry in client.get("/fhir/Group").json()["entry"]]
        assert names == ["demo", "small", "large"]
        assert totals(walk(client, "/fhir/Group/demo/$export")) == {"Patient": 4, "Observation": 18784}


@pytest.mark.gate
def test_a_folder_of_csv_is_fhir(tmp_path: Path) -> None:
    (tmp_path / "my trial").mkdir()
    (tmp_path / "my trial" / "a.csv").write_bytes(csv_body(5, ROW))
    with served("-s", tmp_path) as client:
        assert totals(walk(client, f"/fhir/Group/{fhir_id('my trial')}/$export")) == {"Patient": 1, "Observation": 5}


@pytest.mark.gate
def test_what_was_taken_in_is_a_bulk_export(tmp_path: Path) -> None:
    readings = [reading(user_id=user, timestamp=f"2024-01-15T10:00:{n:02}Z") for user in "AB" for n in range(5)]
    with served("--data", tmp_path / "readings") as client:
        assert client.post(BATCH, json={"readings": readings}).status_code == 202
        got = walk(client, f"/fhir/Group/{fhir_id('heart_rate')}/$export")
    assert totals(got) == {"Patient": 2, "Observation": 10}
    observations = [resource for kind, body in got if kind == "Observation" for resource in resources(body)]
    assert {observation["code"]["coding"][0]["code"] for observation in observations} == {"8867-4"}


@pytest.mark.gate
def test_the_options_of_an_export() -> None:
    with served("--export-seconds", "1000", "--fhir-version", "2.0") as client:
        answer = client.get(kick_off(client, "/fhir/Group/demo/$export"))
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "120")
        refused = client.get("/fhir/$export?_until=2025-01-01T00:00:00Z", headers=KICK_OFF)
        assert (refused.status_code, [code for code, _ in problems(refused)]) == (400, ["not-supported"])
    with served("--files-of", "5000") as client:
        document = manifest(client, kick_off(client, "/fhir/Group/demo/$export", _type="Observation"))
        assert [entry["count"] for entry in document["output"]] == [5000, 4014, 5000, 4770]


@pytest.mark.gate
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


def sending(client: httpx.Client) -> Send:
    """What a client of SMART Backend Services sends its requests with."""

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
        answer = client.request(method, url, headers=dict(headers), content=body)
        return Answer(answer.status_code, answer.content)

    return send


@pytest.mark.gate
def test_registered_clients_get_tokens_for_an_export(tmp_path: Path) -> None:
    write_clients(tmp_path / "clients.json")
    write_key(tmp_path / "key.json")

    with served("--fhir-clients", tmp_path / "clients.json") as client:
        assert client.get("/fhir/$export", headers=KICK_OFF).status_code == 401
        tokens = SmartTokens(
            str(client.base_url.join("/fhir")), KeyFile(CLIENT, tmp_path / "key.json"), sending(client)
        )
        client.headers.update(tokens.headers(str(client.base_url.join("/fhir"))))
        assert totals(walk(client, "/fhir/Group/demo/$export")) == {"Patient": 4, "Observation": 18784}


@pytest.mark.gate
def test_a_token_that_expires_in_the_middle_is_replaced(tmp_path: Path) -> None:
    write_clients(tmp_path / "clients.json")
    write_key(tmp_path / "key.json")

    with served("--fhir-clients", tmp_path / "clients.json", "--faults", "file:token-expired,times=1") as client:
        base = str(client.base_url.join("/fhir"))
        tokens = SmartTokens(base, KeyFile(CLIENT, tmp_path / "key.json"), sending(client))
        first = tokens.headers(base)
        status = client.get("/fhir/Group/demo/$export", headers=KICK_OFF | first).headers["content-location"]
        url = client.get(status, headers=first).json()["output"][0]["url"]
        assert [client.get(url, headers=first).status_code for _ in range(2)] == [401, 401]
        tokens.refused(first)
        second = tokens.headers(base)
        assert second != first
        assert [client.get(path, headers=second).status_code for path in (url, status)] == [200, 200]


def test_a_wrong_file_of_clients_is_named(tmp_path: Path) -> None:
    (tmp_path / "clients.json").write_text("{}")
    ended = run_command(tmp_path, "serve", "--port", "0", "--fhir-clients", "clients.json")
    assert (ended.code, ended.stderr) == (
        2,
        "mockexport: error: clients.json is not an object of clients by their ids\n",
    )
