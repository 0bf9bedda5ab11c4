"""What the tests of the client of FHIR servers share."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.fhir_client.scripted_fhir import ScriptedFhir

from mockexport import FhirExport, count
from mockexport.http import ClientSettings, Retries
from mockexport.sources import FhirSource
from mockexport.sources.fhir import job

if TYPE_CHECKING:
    from collections.abc import Iterator


class OpenFhir(Protocol):
    """Opens a FHIR server as a source, which is closed with the test; options are those of FhirExport."""

    def __call__(
        self, server: ScriptedFhir, *, token: str | None = None, retries: int = 2, **export: Any
    ) -> FhirSource: ...


@pytest.fixture
def server() -> Iterator[ScriptedFhir]:
    with ScriptedFhir() as server:
        yield server


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server asks for no wait, there is none."""
    monkeypatch.setattr(job, "FIRST_WAIT", 0.0)


@pytest.fixture
def open_fhir() -> Iterator[OpenFhir]:
    with ExitStack() as stack:

        def start(server: ScriptedFhir, *, token: str | None = None, retries: int = 2, **export: Any) -> FhirSource:
            settings = ClientSettings(server.url, token=token, retries=Retries(retries, 30.0, 0.001))
            source = FhirSource(settings, FhirExport(**export))
            stack.callback(source.close)
            return source

        yield start


def counted(source: FhirSource, export: str = "system") -> int:
    """Count the Patients of an export; each is counted once."""
    counts = count(source, export)
    assert all(types == {"Patient": 1} for types in counts.patients.values())
    return len(counts.patients)
