"""MockFhirSource: the made-up exports as a Source, in this process; as FHIR resources, one a line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mockexport.model import Download
from mockexport.sources.mock.fhir import observation_templates, patient
from mockexport.sources.mock.source import MockSource, chunks_from
from mockexport.sources.mock.specs import download_uuid
from mockexport.sources.observations import json_line

if TYPE_CHECKING:
    from mockexport.source import Chunks
    from mockexport.sources.mock.reference import Generator
    from mockexport.sources.mock.specs import Plan

__all__ = ["MockFhirSource"]


class MockFhirSource(MockSource):
    """Makes the exports of MockSource up as FHIR R4.

    The first download of an export has a Patient for each of its patients. The others are those of MockSource, by the
    same ids, with an Observation for each row.
    """

    name = "mock-fhir"

    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads, all of it declared but their sizes."""
        patients = self._patients(export)
        observations = [
            replace(download, format="ndjson", event_types=("Observation",)) for download in super().downloads(export)
        ]
        return [
            Download(
                export=export,
                id=_patients_id(export),
                rows=len(patients),
                event_types=("Patient",),
                patients=patients,
                start_time=observations[0].start_time,  # so that the export as a whole has its times
                end_time=observations[-1].end_time,
                etag=f"{self.name}-{_patients_id(export)}",
                format="ndjson",
            ),
            *observations,
        ]

    def open(self, download: Download, offset: int = 0, **watch: object) -> Chunks:
        """Generate a download's bytes; those before `offset` are generated and dropped."""
        if download.id == _patients_id(download.export):
            return chunks_from(offset, map(json_line, map(patient, self._patients(download.export))))
        return super().open(download, offset, **watch)

    def _patients(self, export: str) -> tuple[str, ...]:
        return tuple(sorted({name for plan in self._plans(export) for name in plan.patients}))

    def _rows(self, plan: Plan) -> Generator:
        return self._generator(plan, observation_templates(plan))


def _patients_id(export: str) -> str:
    return str(download_uuid(export, "patients"))
