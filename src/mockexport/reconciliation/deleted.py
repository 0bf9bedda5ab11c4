"""What an export says was deleted: Bundles of requests with the method DELETE (FHIR Bulk Data Access, "deleted")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.errors import UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["deleted_in"]

# The URL of a resource, or of its versions.
RESOURCE = re.compile(r"(?:.*/)?([A-Z][A-Za-z]*/(?!_history)[^/?#]+)(?:/_history(?:/[^/?#]+)?)?/?")


def deleted_in(row: bytes) -> Iterator[str]:
    """Yield the `Type/id` of each resource that a row says was deleted, without its version.

    Raises UntrustedDataError for a row that is no Bundle, and for a URL that does not name one resource.
    """
    if not row.strip():
        return
    try:
        bundle: Any = orjson.loads(row)
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"a file of deleted resources is not valid JSON: {error}") from error
    is_bundle = isinstance(bundle, dict) and bundle.get("resourceType") == "Bundle"
    entries: Any = bundle.get("entry", []) if is_bundle else None
    if not isinstance(entries, list):
        raise UntrustedDataError("a file of deleted resources has a row that is no Bundle")
    for entry in entries:
        request: Any = entry.get("request") if isinstance(entry, dict) else None
        url: Any = request.get("url") if isinstance(request, dict) else None
        if isinstance(url, str) and request.get("method") == "DELETE":
            found = RESOURCE.fullmatch(url)
            if found is None:
                raise UntrustedDataError(f"a file of deleted resources names {url!r}, which is no Type/id")
            yield found[1]
