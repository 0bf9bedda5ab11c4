"""How the client waits: for as long as the server asks, in whatever form, and not for ever."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.fhir_client.conftest import counted
from tests.fhir_client.scripted_fhir import LOST, Answer, busy, document, manifest, outcome

from mockexport import NotAuthorisedError, NotFoundError, UnreachableError, UntrustedDataError
from mockexport.sources.fhir import job
from mockexport.sources.fhir.job import wait_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fhir_client.conftest import OpenFhir
    from tests.fhir_client.scripted_fhir import ScriptedFhir

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY = 86_400.0
STATUS = "GET /fhir/jobs/1"
TRANSIENT = {"severity": "error", "code": "transient"}


@pytest.mark.parametrize(
    ("text", "seconds", "told"),
    [
        (None, None, False),
        ("0", 0, False),
        ("120", 120, False),
        (" 7 ", 7, False),
        ("2.5", 2.5, False),
        ("18000", 18_000, False),  # five hours, as one server asks
        ("Mon, 21 Sep 2026 14:15:20 GMT", 120, False),
        ("Mon, 21 Sep 2026 13:00:00 GMT", None, False),  # past: the clocks differ
        ("1790000060", 60, False),
        ("1790000060000", 60, False),
        ("1780000000", None, False),
        ("86401", DAY, True),
        ("99999999999", DAY, True),
        ("9" * 400, DAY, True),
        ("inf", DAY, True),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY, True),
        ("-5", None, True),
        ("nan", None, True),
        ("soon", None, True),
        ("", None, True),
    ],
)
def test_retry_after_is_understood_in_every_form(
    text: str | None, seconds: float | None, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mockexport"):
        assert wait_seconds(text, "http://ehr.example", NOW) == (seconds and pytest.approx(seconds))
    assert bool(caplog.records) == told


@pytest.mark.gate
def test_the_status_is_asked_for_until_the_manifest_is_there_and_progress_is_told(
    server: ScriptedFhir, open_fhir: OpenFhir
) -> None:
    server.export()
    complete = document(manifest({"type": "Patient", "url": f"{server.url}/files/1", "count": 3}))
    server.on(
        STATUS,
        busy(X_Progress="10% complete"),
        busy(X_Progress="9" * 300),
        busy(429),
        busy(503),
        *[outcome(500, TRANSIENT, Retry_After="0")] * 9,
        busy(after=None),
        complete,
    )
    source = open_fhir(server, retries=0)
    told: list[str] = []
    source.on_status = told.append
    assert counted(source) == 3
    assert told == ["10% complete", "9" * 100, *["the server is busy"] * 11, "the export is being made"]


@pytest.mark.parametrize("answer", [Answer(500), Answer(502, b"<html>"), Answer(408), LOST])
def test_a_status_that_fails_once_is_asked_for_again(server: ScriptedFhir, open_fhir: OpenFhir, answer: Answer) -> None:
    server.export()
    complete = server.manifest_answer
    server.on(STATUS, answer, complete)
    assert counted(open_fhir(server)) == 5
    assert server.kick_offs == 1


def test_an_export_that_failed_is_an_error_in_the_words_of_the_server_if_it_says_so_again(
    server: ScriptedFhir, open_fhir: OpenFhir
) -> None:
    server.export()
    complete = server.manifest_answer
    failed = outcome(500, {"severity": "fatal", "code": "exception", "diagnostics": "disk full"})
    server.on(STATUS, failed, failed, complete)
    assert counted(open_fhir(server, retries=2)) == 5
    server.on(STATUS, failed)
    with pytest.raises(UnreachableError, match="disk full"):
        counted(open_fhir(server, retries=2))
    assert server.count(STATUS) == 3 + 3


def test_a_status_that_fails_is_asked_for_again_no_sooner_than_any_other(
    server: ScriptedFhir, open_fhir: OpenFhir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "FIRST_WAIT", 1000.0)  # more than the retries may take
    server.export()
    server.on(STATUS, Answer(500))
    with pytest.raises(UnreachableError, match="500"):
        counted(open_fhir(server))
    assert server.count(STATUS) == 1
    server.on(STATUS, busy(500), server.manifest_answer)
    assert counted(open_fhir(server)) == 5


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (Answer(401), NotAuthorisedError, "401"),
        (Answer(404), NotFoundError, "not on the server any more"),
        (Answer(410), NotFoundError, "not on the server any more"),
        (Answer(500), UnreachableError, "500"),
        (Answer(200, b"<html>"), UntrustedDataError, "is it a FHIR server"),
        (Answer(200, b"[]"), UntrustedDataError, "no manifest"),
        (Answer(200, b"{}"), UntrustedDataError, r'manifest at .*jobs/1 is not valid: it has no "output"'),
    ],
)
def test_any_other_answer_is_an_error(
    server: ScriptedFhir, open_fhir: OpenFhir, answer: Answer, error: type[Exception], told: str
) -> None:
    server.export()
    server.on(STATUS, answer)
    with pytest.raises(error, match=told):
        counted(open_fhir(server))


def test_waits_grow_where_the_server_asks_for_nothing(
    server: ScriptedFhir, open_fhir: OpenFhir, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.export()
    server.on(STATUS, *[busy(after=None)] * 9, server.manifest_answer)
    source = open_fhir(server)
    monkeypatch.setattr(job, "FIRST_WAIT", 5.0)
    waits: list[float] = []
    source.start("system")
    monkeypatch.setattr(source._client.closed, "wait", waits.append)
    source.downloads("system")
    assert waits[0] == 5.0
    assert waits == sorted(waits)
    assert waits[-1] == 60.0


def test_an_export_is_waited_for_no_longer_than_the_timeout_which_goes_on_in_the_next_run(
    server: ScriptedFhir, open_fhir: OpenFhir, tmp_path: Path
) -> None:
    server.export()
    server.on(STATUS, busy(after="60"))
    path = tmp_path / "state"
    open_fhir(server, state=path).start("system")
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"began": time.time() - 3590}))
    with pytest.raises(UnreachableError, match="not ready within 3,600 s; the next look would be in 60 s"):
        open_fhir(server, state=path, timeout=3600).downloads("system")
    assert server.kick_offs == 1
