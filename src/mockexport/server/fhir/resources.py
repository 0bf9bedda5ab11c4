"""The documents of the FHIR API that are not about one export: what the server can do, and its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from mockexport._version import __version__
from mockexport.bulk_wire import FHIR_JSON, FHIR_NDJSON

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.datastructures import QueryParams

__all__ = ["capability_statement", "group", "search_bundle", "smart_configuration"]

IG = "http://hl7.org/fhir/uv/bulkdata"
SECURITY = {
    "service": [
        {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }
            ]
        }
    ]
}


def capability_statement(base: str, version: str, since: datetime, *, needs_token: bool) -> dict[str, Any]:
    """Build the CapabilityStatement of a server at `base`, which follows a version of the IG since it was started."""

    def operation(kind: str) -> list[dict[str, str]]:
        return [{"name": "export", "definition": f"{IG}/OperationDefinition/{kind}"}]

    rest: dict[str, Any] = {
        "mode": "server",
        "resource": [
            {
                "type": "Group",
                "interaction": [{"code": "read"}, {"code": "search-type"}],
                "searchParam": [{"name": "_id", "type": "token"}, {"name": "name", "type": "string"}],
                "operation": operation("group-export"),
            },
            {"type": "Patient", "operation": operation("patient-export")},
        ],
        "operation": operation("export"),
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": since.isoformat(timespec="seconds"),
        "kind": "instance",
        "instantiates": [f"{IG}/CapabilityStatement/bulk-data"],
        "software": {"name": "mockexport", "version": __version__},
        "implementation": {"description": "Bulk healthcare exports", "url": base},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, FHIR_NDJSON],
        "implementationGuide": [f"{IG}/ImplementationGuide/hl7.fhir.uv.bulkdata|{version}.0"],
        "rest": [rest | ({"security": SECURITY} if needs_token else {})],
    }


def smart_configuration(base: str) -> dict[str, Any]:
    """Build what says how to get a token (SMART App Launch, "Backend Services")."""
    return {
        "token_endpoint": f"{base}/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": ["system/*.rs"],
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    }


def group(group_id: str, export: str) -> dict[str, Any]:
    """Build the Group that stands for an export; its members are in the export."""
    return {
        "resourceType": "Group",
        "id": group_id,
        "identifier": [{"value": export}],
        "active": True,
        "type": "person",
        "actual": True,
        "name": export,
    }


def search_bundle(base: str, groups: Mapping[str, str], query: QueryParams) -> dict[str, Any]:
    """Build the response to a search for groups: by `_id`, or by the beginning of `name`; all of them on one page."""
    ids = {part for value in query.getlist("_id") for part in value.split(",")}
    name = query.get("name", "").casefold()
    found = {
        group_id: export
        for group_id, export in groups.items()
        if (not ids or group_id in ids) and export.casefold().startswith(name)
    }
    used = urlencode([(key, value) for key, value in query.multi_items() if key in ("_id", "name")])
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{base}/Group" + (f"?{used}" if used else "")}],
        "entry": [
            {
                "fullUrl": f"{base}/Group/{quote(group_id)}",
                "resource": group(group_id, export),
                "search": {"mode": "match"},
            }
            for group_id, export in found.items()
        ],
    }
