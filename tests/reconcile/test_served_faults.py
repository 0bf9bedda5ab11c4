"""Each fault that `serve --faults` can make of data, found with its code, over HTTP and from a FHIR server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.reconcile.codes import codes, found
from tests.server.serving import serving

from mockexport import FhirExport, reconcile
from mockexport.http import ClientSettings, Retries
from mockexport.server.faults import read_faults
from mockexport.sources import FhirSource, HttpSource, MockFhirSource, MockSource
from mockexport.sources.fhir import job

if TYPE_CHECKING:
    from mockexport import Certificate

RETRIES = Retries(1, 10.0, 0.001)
ROWS = 18_784  # of demo


def over_http(faults: str) -> Certificate:
    with serving(MockSource(), faults=read_faults(faults)) as url:
        return reconcile(HttpSource(url, retries=RETRIES), "demo")


def over_fhir(faults: str, **export: Any) -> Certificate:
    with serving(MockFhirSource(), faults=read_faults(faults)) as url:
        source = FhirSource(ClientSettings(f"{url}/fhir", retries=RETRIES), FhirExport(**export))
        try:
            return reconcile(source, "group/demo")
        finally:
            source.close()


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "FIRST_WAIT", 0.0)


def test_a_server_without_faults_is_whole() -> None:
    certificate = over_http("seed=1")
    assert not certificate.findings
    assert certificate.distinct == ROWS
    assert not over_fhir("seed=1").findings


@pytest.mark.parametrize("amount", ["+1", "-1"])
def test_lying_counts_are_rows_that_differ(amount: str) -> None:
    assert codes(over_http(f"download:rows={amount}")) == {"rows-differ": ("error", 2)}
    assert codes(over_fhir(f"poll:rows={amount}"))["rows-differ"][0] == "error"


def test_truncated_bodies_are_rows_that_differ_or_broken() -> None:
    cut = over_http("data:end=4000")  # and HTTP says that they are complete
    assert set(codes(cut)) & {"rows-differ", "bytes-differ", "download-broken"}
    assert not cut.whole
    assert codes(over_http("data:cut=4000"))["download-broken"] == ("error", 2)


def test_a_length_that_is_too_small_is_found() -> None:
    assert not over_http("data:length=-100").whole


def test_rows_that_are_sent_twice_are_duplicates() -> None:
    certificate = over_http("data:twice=0.01")
    assert {name: severity for name, (severity, _) in codes(certificate).items()} == {
        "rows-differ": "error",
        "duplicate": "warning",
    }
    assert certificate.distinct == ROWS
    extra = sum(place["found"] - place["declared"] for place in found(certificate, "rows-differ"))
    assert codes(certificate)["duplicate"] == ("warning", extra)
    served = codes(over_fhir("poll:no-rows;file:twice=0.01"))
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


def test_a_resource_that_is_deleted_and_there_is_found() -> None:
    certificate = over_fhir("poll:deleted=Patient/P001")
    assert codes(certificate) == {"deleted-present": ("error", 1)}
    assert found(certificate, "deleted-present")[0]["id"] == "Patient/P001"


@pytest.mark.parametrize("severity", ["fatal", "error", "warning"])
def test_errors_that_the_server_tells_of_are_found(severity: str) -> None:
    certificate = over_fhir(f"poll:error-file={severity}")
    assert codes(certificate) == {"server-error": ("warning" if severity == "warning" else "error", 1)}


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
    assert codes(certificate) == {"type-absent": ("warning", 1)}
    assert certificate.asked["types"] == ["Condition", "Patient"]
