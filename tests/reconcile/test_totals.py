"""`--ask-server`: what the server counts of each type against what was found."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.fhir_client.scripted_fhir import Answer, ScriptedFhir, document, patients
from tests.reconcile.codes import codes, found

from mockexport import FhirExport, UntrustedDataError, UsageError, reconcile
from mockexport.http import ClientSettings, Retries
from mockexport.sources import FhirSource

if TYPE_CHECKING:
    from mockexport import Certificate


def asked(server: ScriptedFhir, export: str = "system", **options: Any) -> Certificate:
    settings = ClientSettings(server.url, retries=Retries(0, 10.0, 0.001))
    with closing(FhirSource(settings, FhirExport(types=("Patient",), **options))) as source:
        return reconcile(source, export, ask_server=True)


@pytest.mark.parametrize("total", [5, 6])
def test_a_total_that_differs_is_told(total: int) -> None:
    with ScriptedFhir() as server:
        server.export((patients(1, 3), patients(4, 5)))
        server.on("GET /fhir/Patient", document({"resourceType": "Bundle", "total": total}))
        certificate = asked(server, since="2025-01-01T00:00:00Z")
        assert server.of("GET /fhir/Patient")[-1].query == {
            "_summary": "count", "_lastUpdated": "ge2025-01-01T00:00:00Z",
        }  # fmt: skip
    if total == 5:
        assert codes(certificate) == {}
    else:
        assert codes(certificate) == {"total-differs": ("warning", 1)}
        assert found(certificate, "total-differs") == [{"type": "Patient", "server": 6, "found": 5}]


@pytest.mark.parametrize(
    "answer", [Answer(body=b"<html>"), document([]), document({}), document({"total": True}), document({"total": "5"})]
)
def test_an_answer_without_a_total_is_an_error_before_any_work(answer: Answer) -> None:
    with ScriptedFhir() as server:
        server.on("GET /fhir/Patient", answer)
        with pytest.raises(UntrustedDataError, match="sent no total"):
            asked(server)
        assert not server.kick_offs


def test_only_all_of_a_server_can_be_asked_for() -> None:
    with ScriptedFhir() as server, pytest.raises(UsageError, match="only of the export system"):
        asked(server, "patient")
    assert not server.kick_offs
