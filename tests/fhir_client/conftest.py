"""What the tests of the client of FHIR servers share."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests.commands import run_command, serve_command
from tests.fhir_client.scripted_fhir import ScriptedFhir

from mockexport import FhirExport, count
from mockexport.http import ClientSettings, Retries
from mockexport.sources import FhirSource
from mockexport.sources.fhir import job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Ended, Serving


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


@pytest.fixture
def run(server: ScriptedFhir, tmp_path: Path) -> Callable[..., Ended]:
    """Run the installed command against the server."""

    def run(*arguments: object) -> Ended:
        return run_command(tmp_path, *arguments, "-s", f"fhir+{server.url}", "--retries", "0")

    return run


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The folder that `downloads fetch group/7 --dir kept` fetches into."""
    return tmp_path / "kept" / "group/7"


@pytest.fixture(scope="module")
def mock_fhir() -> Iterator[Serving]:
    """Our own server, in a process of its own."""
    with serve_command("-s", "mock-fhir", "--files-of", "100000", "--verbose") as server:
        yield server


@pytest.fixture
def killed_in(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs that are killed; it is removed at once, as it may be large."""
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
