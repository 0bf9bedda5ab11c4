"""An export through our own server, by the protocol, has the numbers of the committed ones."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.server.serving import serving

from mockexport import FhirFormat, count, open_source, process_workers
from mockexport.server import Fhir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport import Source

OUTPUTS = Path(__file__).parent.parent.parent / "outputs"
CODES = {"heart_rate": "8867-4", "spo2": "59408-5", "bp_sys": "8480-6", "bp_dia": "8462-4"}


@pytest.fixture
def source() -> Iterator[Source]:
    """Our own server, as a source."""
    with (
        serving(open_source("mock-fhir"), fhir=Fhir(files_of=100_000)) as url,
        closing(open_source(f"fhir+{url}/fhir")) as source,
    ):
        yield source


def by_code(committed: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The numbers of an export under their codes, and a Patient for each patient."""
    return {
        patient: {**{f"http://loinc.org|{CODES[kind]}": n for kind, n in types.items()}, "Patient": 1}
        for patient, types in committed["patients"].items()
    }


@pytest.mark.parametrize("export", ["demo", pytest.param("small", marks=pytest.mark.slow)])
def test_an_export_by_the_protocol_has_the_numbers_that_are_committed(export: str, source: Source) -> None:
    committed = orjson.loads((OUTPUTS / f"{export}.json").read_bytes())
    counts = count(source, f"group/{export}", fhir=FhirFormat("code"))
    assert counts.patients == by_code(committed)
    assert not counts.left_out
    assert not counts.unassigned


@pytest.mark.gate
def test_worker_processes_count_the_same(source: Source) -> None:
    committed = orjson.loads((OUTPUTS / "demo.json").read_bytes())
    workers = partial(process_workers, jobs=2)
    counts = count(source, "group/demo", fhir=FhirFormat("code"), start_workers=workers)
    assert counts.patients == by_code(committed)


def test_the_exports_are_the_groups_of_the_server(source: Source) -> None:
    assert source.exports() == ["system", "patient", "group/demo", "group/small", "group/large"]
