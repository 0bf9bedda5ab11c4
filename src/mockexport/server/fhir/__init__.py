"""The FHIR Bulk Data API for any source of NDJSON (docs/fhir.md): exports start, are polled, downloaded and deleted."""

from mockexport.server.fhir.api import Fhir, fhir_application

__all__ = ["Fhir", "fhir_application"]
