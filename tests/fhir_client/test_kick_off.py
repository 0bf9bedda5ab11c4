"""How an export is begun: the request, and every answer to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from tests.fhir_client.conftest import counted
from tests.fhir_client.scripted_fhir import LOST, Answer, busy, outcome
from tests.scripted_http import refusing

from mockexport import FhirExport, NotAuthorisedError, UnreachableError, UntrustedDataError, UsageError
from mockexport.http import ClientSettings, Retries
from mockexport.place import write_whole
from mockexport.sources import FhirSource
from mockexport.sources.fhir import state

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fhir_client.conftest import OpenFhir
    from tests.fhir_client.scripted_fhir import ScriptedFhir

KICK_OFF = "GET /fhir/$export"


@pytest.mark.parametrize(
    ("export", "level"),
    [("system", ""), ("patient", "/Patient"), ("group/a b", "/Group/a%20b"), ("group/1", "/Group/1")],
)
def test_each_level_has_its_kick_off(server: ScriptedFhir, open_fhir: OpenFhir, export: str, level: str) -> None:
    server.export(level=level)
    assert counted(open_fhir(server), export) == 5
    assert server.asked[0].path == f"/fhir{level}/$export"


def test_each_request_has_exactly_the_headers_that_servers_want(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    source = open_fhir(server, token="secret")
    counted(source)
    source.end()
    sent = {asked.what: asked.headers for asked in server.asked}
    assert {what: headers["accept"] for what, headers in sent.items()} == {
        KICK_OFF: "application/fhir+json",
        "GET /fhir/jobs/1": "application/json",
        "GET /fhir/files/1": "application/fhir+ndjson",
        "GET /fhir/files/2": "application/fhir+ndjson",
        "DELETE /fhir/jobs/1": "application/json",
    }
    assert sent[KICK_OFF]["prefer"] == "respond-async"
    assert all(headers["authorization"] == "Bearer secret" for headers in sent.values())
    assert not any("range" in headers for headers in sent.values())
    assert "gzip" in sent["GET /fhir/files/1"]["accept-encoding"]


def test_the_parameters_have_commas_between_values_and_quoted_ones_within(
    server: ScriptedFhir, open_fhir: OpenFhir
) -> None:
    server.export()
    source = open_fhir(
        server,
        types=("Patient", "Condition"),
        since="2025-01-01T00:00:00Z",
        until="2026-01-01T00:00:00+02:00",
        type_filters=("Observation?code=a,b", "Condition?x=1"),
        elements=("id", "code"),
    )
    counted(source)
    assert server.asked[0].query == {
        "_type": "Patient,Condition",
        "_since": "2025-01-01T00:00:00Z",
        "_until": "2026-01-01T00:00:00+02:00",
        "_typeFilter": "Observation?code=a%2Cb,Condition?x=1",
        "_elements": "id,code",
    }


def test_a_server_that_takes_no_get_is_asked_by_post(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    server.on(KICK_OFF, outcome(405))
    server.on("POST /fhir/$export", server.begun())
    source = open_fhir(server, types=("Patient", "Group"), since="2025-01-01T00:00:00Z")
    assert counted(source) == 5
    (asked,) = server.of("POST /fhir/$export")
    assert asked.query == {}
    assert asked.headers["content-type"] == "application/fhir+json"
    assert (asked.headers["accept"], asked.headers["prefer"]) == ("application/fhir+json", "respond-async")
    assert orjson.loads(asked.body) == {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueString": "Patient"},
            {"name": "_type", "valueString": "Group"},
            {"name": "_since", "valueInstant": "2025-01-01T00:00:00Z"},
        ],
    }


def test_a_server_that_takes_neither_get_nor_post_is_an_error(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.on(KICK_OFF, outcome(405))
    server.on("POST /fhir/$export", outcome(405))
    with pytest.raises(UntrustedDataError, match="405"):
        counted(open_fhir(server))
    assert server.kick_offs == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for(server: ScriptedFhir, open_fhir: OpenFhir, status: int) -> None:
    server.export()
    server.on(KICK_OFF, *[busy(status)] * 7, busy(status, None), server.begun())  # more often than any retries
    source = open_fhir(server, retries=0)
    told: list[str] = []
    source.on_status = told.append
    assert counted(source) == 5
    assert told == ["the server is busy"] * 8


def test_a_busy_server_is_waited_for_no_longer_than_the_timeout(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.on(KICK_OFF, busy(429, "18000"))
    with pytest.raises(UnreachableError, match=r"not ready within 3,600 s; the next look would be in 18,000 s"):
        counted(open_fhir(server, timeout=3600))
    assert server.kick_offs == 1


@pytest.mark.parametrize("answer", [LOST, Answer(502), outcome(500, {"severity": "error", "code": "exception"})])
def test_a_kick_off_whose_answer_is_lost_is_not_sent_again(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path, answer: Answer
) -> None:
    server.export()
    server.on(KICK_OFF, answer, server.begun())
    with pytest.raises((UnreachableError, UntrustedDataError)):
        counted(open_fhir(server, state=tmp_path / "state"))
    with pytest.raises(UnreachableError, match=r"may be running.*was sent, and its answer did not arrive"):
        counted(open_fhir(server, state=tmp_path / "state"))
    assert server.kick_offs == 1

    assert counted(open_fhir(server, state=tmp_path / "state", restart=True)) == 5
    assert server.kick_offs == 2


def test_a_kick_off_that_nobody_can_have_received_may_be_sent_again(tmp_path: Path) -> None:
    with refusing() as url:
        settings = ClientSettings(f"{url}/fhir", retries=Retries(3, 30.0, 0.001))
        export = FhirExport(state=tmp_path / "state")
        with pytest.raises(UnreachableError, match="can't be reached"):
            counted(FhirSource(settings, export))
        with pytest.raises(UnreachableError, match="can't be reached"):  # not: one may be running
            counted(FhirSource(settings, export))


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (
            outcome(400, {"severity": "error", "code": "value", "diagnostics": "no such type"}),
            UntrustedDataError,
            "no such",
        ),
        (outcome(400, {"severity": "error", "details": {"text": "of details"}}), UntrustedDataError, "of details"),
        (outcome(400, {"severity": "error", "code": "not-supported"}), UntrustedDataError, "not-supported"),
        (outcome(401, {"severity": "error", "code": "login"}), NotAuthorisedError, "401.*token"),
        (Answer(403), NotAuthorisedError, "403"),
        (Answer(200), UntrustedDataError, "200"),
        (Answer(202), UntrustedDataError, "no Content-Location"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_server(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path, answer: Answer, error: type[Exception], told: str
) -> None:
    server.on(KICK_OFF, answer)
    with pytest.raises(error, match=told) as raised:
        counted(open_fhir(server, state=tmp_path / "state"))
    assert "\n" not in str(raised.value)


def test_after_a_refusal_the_export_can_be_begun(server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path) -> None:
    server.export()
    server.on(KICK_OFF, outcome(400), server.begun())
    with pytest.raises(UntrustedDataError):
        counted(open_fhir(server, state=tmp_path / "state"))
    assert counted(open_fhir(server, state=tmp_path / "state")) == 5


def test_starting_twice_begins_one_export(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    source = open_fhir(server)
    assert source.start("system") == source.start("system") == server.status_url
    assert counted(source) == 5
    assert server.kick_offs == 1


def test_a_status_url_may_be_relative(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.export()
    server.on(KICK_OFF, Answer(202, headers={"Content-Location": "jobs/1"}))
    assert counted(open_fhir(server)) == 5


def test_a_status_url_that_is_none_is_an_error(server: ScriptedFhir, open_fhir: OpenFhir) -> None:
    server.on(KICK_OFF, Answer(202, headers={"Content-Location": "http://["}))
    with pytest.raises(UntrustedDataError, match=r"names 'http://\[', which is not a URL"):
        counted(open_fhir(server))


def test_an_export_whose_state_cannot_be_kept_is_deleted_again(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.export()

    def full(path: Path, content: bytes, **options: bool) -> None:
        if b"status_url" in content:
            raise OSError(28, "No space left on device")
        write_whole(path, content, **options)

    with monkeypatch.context() as context:
        context.setattr(state, "write_whole", full)
        with pytest.raises(UsageError, match=r"cannot write the state .*: No space left on device"):
            counted(open_fhir(server, state=tmp_path / "state"))
    assert server.count("DELETE /fhir/jobs/1") == 1
    assert counted(open_fhir(server, state=tmp_path / "state")) == 5  # it is known that none runs
