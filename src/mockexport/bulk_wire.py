"""Names of the FHIR Bulk Data API that its server and its client share: media types, and the shape of an error."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid5

from mockexport.encoding import unicode_only

__all__ = ["FHIR", "FHIR_JSON", "FHIR_NDJSON", "JSON", "Severity", "fhir_id", "issue", "operation_outcome"]

FHIR = "/fhir"
"""Where our server answers: the path of its base URL."""

FHIR_JSON = "application/fhir+json"
"""The media type of FHIR resources, errors among them; what a client accepts at the kick-off."""

FHIR_NDJSON = "application/fhir+ndjson"
"""The media type of a file of an export."""

JSON = "application/json"
"""The media type of a manifest, which is no FHIR resource; what a client accepts at the status URL."""

Severity: TypeAlias = Literal["fatal", "error", "warning", "information"]

ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
NAMESPACE = UUID("b8a8f7e2-51c6-4b1f-9d0e-3c1c3a6f0a44")


def fhir_id(text: str) -> str:
    """Return an id as FHIR allows it: letters, digits, `-` and `.`, 64 at most. Any other gets a version 5 UUID.

    It is made of the id in the namespace above (RFC 9562, section 5.5): the same each time, and everywhere.
    """
    return text if ID.fullmatch(text) else str(uuid5(NAMESPACE, unicode_only(text)))


def issue(code: str, diagnostics: str, severity: Severity = "error") -> dict[str, Any]:
    """Build an issue of an OperationOutcome; `code` is one of the value set issue-type."""
    return {"severity": severity, "code": code, "diagnostics": diagnostics}


def operation_outcome(*issues: dict[str, Any]) -> dict[str, Any]:
    """Build the resource that tells of errors and warnings."""
    return {"resourceType": "OperationOutcome", "issue": list(issues)}
