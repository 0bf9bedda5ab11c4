"""Reads the request that starts an export: its headers, and its parameters in the URL or in a Parameters resource.

What is not supported is refused, as the IG has it, so that a client can ask again without it; after `Prefer:
handling=lenient` the export is made all the same, and the manifest's `error` file tells of what was passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.bulk_wire import FHIR_JSON, FHIR_NDJSON, JSON, issue
from mockexport.server.fhir.content import PATIENT_TYPES
from mockexport.server.fhir.r4 import RESOURCE_TYPES
from mockexport.server.fhir.refusal import Refusal, read_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import Request

__all__ = ["KickOff", "check_accept", "read_kick_off"]

MOST_BYTES = 1 << 20  # of a Parameters resource
SHOWN = 60  # characters of an invalid value
FORMATS = {FHIR_NDJSON, "application/ndjson", "ndjson"}
INSTANT = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-](0\d|1[0-4]):[0-5]\d)"
)
BOOLEANS = {"true": True, "false": False}
PARAMETERS = {
    "2.0": ("_outputFormat", "_since", "_type"),
    "3.0": ("_outputFormat", "_since", "_until", "_type", "allowPartialManifests"),
}
"""The parameters that are supported, by the version of the IG."""


@dataclass(frozen=True, slots=True)
class KickOff:
    """What a client asks for: `types`, None for all, and those that it has named.

    `notes` are issues with the request, which is accepted all the same.
    """

    types: frozenset[str] | None
    named: frozenset[str]
    partial: bool = False
    notes: tuple[dict[str, Any], ...] = ()


def check_accept(request: Request, *wanted: str) -> None:
    """Raise Refusal with 406 if the client accepts none of these media types. Without `Accept`, it accepts them all."""
    sent = ",".join(request.headers.getlist("accept"))
    ranges = {part.partition(";")[0].strip().lower() for part in sent.split(",")} - {""}
    groups = {"*/*", *(f"{media_type.partition('/')[0]}/*" for media_type in wanted)}
    if ranges and not ranges & {*wanted, *groups}:
        raise Refusal(406, issue("not-supported", f"Accept has to be {wanted[0]}, not {_shown(sent)}"))


async def read_kick_off(request: Request, version: str, *, of_patients: bool) -> KickOff:
    """Read and check the request for an export; `of_patients` is one of `Patient/$export`. Raises Refusal."""
    check_accept(request, FHIR_JSON)
    preferred = _preferences(request)
    if "respond-async" not in preferred:
        raise Refusal(400, issue("required", "Exports take their time: the header Prefer: respond-async is required"))
    parameters = list(request.query_params.multi_items())
    if request.method == "POST":
        parameters += _parameters(await _body(request))
    return _kick_off(parameters, version, of_patients=of_patients, lenient="handling=lenient" in preferred)


def _kick_off(parameters: list[tuple[str, str]], version: str, *, of_patients: bool, lenient: bool) -> KickOff:
    unknown = [name for name in dict(parameters) if name not in PARAMETERS[version]]
    problems = [issue("not-supported", f"The parameter {_shown(name)} is not supported") for name in unknown]
    types, of_types = _types(_values(parameters, "_type"), of_patients=of_patients)
    problems += of_types
    if problems and not lenient:
        raise Refusal(400, *problems)
    for value in _values(parameters, "_outputFormat"):
        if value.replace(" ", "+") not in FORMATS:  # a plus that is not quoted in a URL is a space
            raise Refusal(400, issue("value", f"_outputFormat is {FHIR_NDJSON}, not {_shown(value)}"))
    for name in {"_since", "_until"}.intersection(PARAMETERS[version]):
        for value in _values(parameters, name):
            if not INSTANT.fullmatch(value.replace(" ", "+")):
                raise Refusal(400, issue("value", f"{name} is an instant, 2025-06-26T00:00:00Z, not {_shown(value)}"))
    partial = version != "2.0" and _boolean(parameters, "allowPartialManifests")
    named = types if types is not None and _values(parameters, "_type") else frozenset[str]()
    return KickOff(types, named, partial, tuple({**problem, "severity": "warning"} for problem in problems))


def _types(values: list[str], *, of_patients: bool) -> tuple[frozenset[str] | None, list[dict[str, Any]]]:
    """Return the types that are wanted, of those that there are, None for all; and what is wrong with the others."""
    wanted = {name.strip() for value in values for name in value.split(",")} - {""}
    unknown = sorted(wanted - RESOURCE_TYPES)
    problems = [
        issue("not-supported", f"{_shown(name)} in _type is not a resource type of FHIR R4") for name in unknown
    ]
    known = RESOURCE_TYPES & wanted
    if not of_patients:
        return known if wanted else None, problems
    if known and not known & PATIENT_TYPES:
        told = f"{', '.join(sorted(known))} in _type: these are not about patients; ask for the system or a group"
        problems.append(issue("not-supported", told))
    return known & PATIENT_TYPES if wanted else PATIENT_TYPES, problems


def _preferences(request: Request) -> set[str]:
    """Return the preferences of a request (RFC 7240), and their parameters."""
    sent = ",".join(request.headers.getlist("prefer"))
    return {part.replace('"', "").replace(" ", "").lower() for part in re.split("[,;]", sent)}


async def _body(request: Request) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (FHIR_JSON, JSON, ""):
        raise Refusal(415, issue("not-supported", f"The body has to be {FHIR_JSON}, not {_shown(media_type)}"))
    return await read_body(request, MOST_BYTES)


def _parameters(body: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a Parameters resource. Raises Refusal."""
    try:
        document = orjson.loads(body or b'{"resourceType": "Parameters"}')
        if document["resourceType"] == "Parameters":
            return [_parameter(parameter) for parameter in document.get("parameter", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise Refusal(400, issue("structure", "The body is not a Parameters resource of names and values"))


def _parameter(parameter: dict[str, Any]) -> tuple[str, str]:
    (value,) = (value for key, value in parameter.items() if key.startswith("value"))
    if isinstance(value, dict):
        value = value["reference"]
    return str(parameter["name"]), str(value).lower() if isinstance(value, bool) else str(value)


def _values(parameters: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for other, value in parameters if other == name]


def _boolean(parameters: Iterable[tuple[str, str]], name: str) -> bool:
    values = _values(parameters, name)
    for value in values:
        if value not in BOOLEANS:
            raise Refusal(400, issue("value", f"{name} is true or false, not {_shown(value)}"))
    return any(BOOLEANS[value] for value in values)


def _shown(value: str) -> str:
    """Return a value for a message: not too long, and all of it printable."""
    return ascii(value if len(value) <= SHOWN else value[:SHOWN] + "...")
