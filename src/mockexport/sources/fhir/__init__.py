"""The bulk exports of a FHIR server as a Source: kick-off, waiting, the manifest, the files, and the end."""

from mockexport.sources.fhir.outcome import read_issues
from mockexport.sources.fhir.source import FhirSource

__all__ = ["FhirSource", "read_issues"]
