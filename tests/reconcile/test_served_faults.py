"""Each fault that `serve --faults` can make of data, found with its code, over HTTP and from a FHIR server."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.faults.misbehaving import misbehaving
from tests.reconcile.codes import DeclaringSource, codes, found, ndjson
from tests.sources import EXPORT

from mockexport import FhirExport, reconcile
from mockexport.http import ClientSettings, Retries
from mockexport.server import Fhir
from mockexport.sources import FhirSource, HttpSource, MockSource
from mockexport.sources.fhir import job

if TYPE_CHECKING:
    from mockexport import Certificate

RETRIES = Retries(1, 10.0, 0.001)
ROWS = 18_784  # of demo
META = {"lastUpdated": "2025-01-01T00:00:00Z"}
PATIENTS = [{"resourceType": "Patient", "id": f"P{n}", "meta": META} for n in range(4)]
OBSERVATIONS = [
    {"resourceType": "Observation", "id": str(n), "meta": META, "subject": {"reference": f"Patient/P{n % 4}"}}
    for n in range(200)
]


def over_http(faults: str) -> Certificate:
    with misbehaving(MockSource(), faults) as url, closing(HttpSource(url, retries=RETRIES)) as source:
        return reconcile(source, "demo")


def over_fhir(faults: str, **export: Any) -> Certificate:
    served = DeclaringSource(
        {"patients": ndjson(*PATIENTS), "observations": ndjson(*OBSERVATIONS)},
        rows={"patients": len(PATIENTS), "observations": len(OBSERVATIONS)},
        fields={"patients": {"event_types": ("Patient",)}, "observations": {"event_types": ("Observation",)}},
        format="ndjson",
    )
    with misbehaving(served, faults, fhir=Fhir()) as url:
        settings = ClientSettings(f"{url}/fhir", retries=RETRIES)
        with closing(FhirSource(settings, FhirExport(**export))) as source:
            return reconcile(source, f"group/{EXPORT}")


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FIRST_WAIT", 0.0)


def test_a_server_without_faults_is_whole() -> None:
    certificate = over_http("seed=1")
    assert not certificate.findings
    assert certificate.distinct == ROWS
    assert not over_fhir("seed=1").findings


@pytest.mark.gate
@pytest.mark.parametrize("amount", ["+1", "-1"])
def test_lying_counts_are_rows_that_differ(amount: str) -> None:
    assert codes(over_http(f"download:rows={amount}")) == {"rows-differ": ("error", 2)}
    assert codes(over_fhir(f"poll:rows={amount}"))["rows-differ"][0] == "error"


@pytest.mark.gate
def test_truncated_bodies_are_rows_that_differ_or_broken() -> None:
    cut = over_http("data:end=4000")  # and HTTP says that they are complete
    assert set(codes(cut)) & {"rows-differ", "bytes-differ", "download-broken"}
    assert not cut.whole
    assert codes(over_http("data:reset=0"))["download-broken"] == ("error", 2)


@pytest.mark.gate
def test_rows_that_are_sent_twice_are_duplicates() -> None:
    certificate = over_http("data:twice=0.01")
    assert {name: severity for name, (severity, _) in codes(certificate).items()} == {
        "rows-differ": "error",
        "duplicate": "warning",
    }
    assert certificate.distinct == ROWS
    extra = sum(place["found"] - place["declared"] for place in found(certificate, "rows-differ"))
    assert codes(certificate)["duplicate"] == ("warning", extra)
    served = codes(over_fhir("poll:no-rows;file:twice=0.1"))
    assert served.keys() == {"duplicate"}
    assert served["duplicate"][0] == "error"


def test_malformed_rows_are_found() -> None:
    certificate = over_http("data:malformed=0.01")
    assert codes(certificate).keys() == {"malformed"}
    assert certificate.findings[0].by.keys() == {"too few fields"}


def test_a_window_that_is_too_short_is_found() -> None:
    certificate = over_http("download:window=3600")
    assert codes(certificate).keys() == {"outside-window"}
    assert {place["is"] for place in found(certificate, "outside-window")} == {"after"}
    assert codes(over_fhir("poll:window=3000000000")) == {"outside-window": ("warning", 204)}


def test_a_resource_that_is_deleted_and_there_is_found() -> None:
    certificate = over_fhir("poll:deleted=Patient/P1")
    assert codes(certificate) == {"deleted-present": ("error", 1)}
    assert found(certificate, "deleted-present")[0]["id"] == "Patient/P1"


@pytest.mark.parametrize("severity", ["fatal", "error", "warning"])
def test_errors_that_the_server_tells_of_are_found(severity: str) -> None:
    certificate = over_fhir(f"poll:error-file={severity}")
    assert codes(certificate) == {"server-error": ("warning" if severity == "warning" else "error", 1)}


@pytest.mark.gate
def test_a_file_that_is_gone_is_missing() -> None:
    certificate = over_http("data:status=404")
    assert codes(certificate) == {"download-missing": ("error", 2)}
    assert codes(over_fhir("file:status=404"))["download-missing"][0] == "error"


def test_a_server_that_refuses_a_file_breaks_it() -> None:
    certificate = over_http("data:status=403")
    assert codes(certificate) == {"download-broken": ("error", 2)}
    assert "403" in found(certificate, "download-broken")[0]["reason"]


def test_a_type_that_the_server_does_not_have_is_absent() -> None:
    certificate = over_fhir("seed=1", types=("Patient", "Condition"))
    assert codes(certificate) == {"type-absent": ("warning", 1), "patient-empty": ("warning", 4)}
    assert certificate.asked["types"] == ["Condition", "Patient"]
