"""A plain client of the FHIR Bulk Data API, which knows nothing of the package, and a source to be walked through."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from tests.fhir.folders import lines, observations, patients
from tests.sources import MemorySource

from mockexport import Download

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
STATUS = {"Accept": "application/json"}
FILE = {"Accept": "application/fhir+ndjson"}
ORGANIZATIONS = lines({"resourceType": "Organization", "id": f"org{number}"} for number in range(3))
FILES = {
    "p": ("Patient", patients("1", "2")),
    "o1": ("Observation", observations("1", "1", "2")),
    "o2": ("Observation", observations("2")),
    "org": ("Organization", ORGANIZATIONS),
}
OTHER = {"p": ("Patient", patients("7"))}


@dataclass
class FhirSource(MemorySource):
    """Groups of files by type, whose numbers of resources are declared."""

    groups: Mapping[str, Mapping[str, tuple[str, bytes]]] = field(
        default_factory=lambda: {"first": FILES, "a second": OTHER}
    )
    bodies: Mapping[str, bytes] = field(default_factory=dict)
    format: str = "ndjson"

    def exports(self) -> Sequence[str]:
        return list(self.groups)

    def downloads(self, export: str) -> Sequence[Download]:
        self.bodies = {f"{export}/{name}": body for name, (_, body) in self.groups[export].items()}
        return [
            Download(
                export,
                name,
                rows=sum(bool(line.strip()) for line in body.split(b"\n")),
                event_types=(kind,),
                etag=f"{export}-{name}-{hash(body)}",
                format=self.format,
            )
            for name, (kind, body) in self.groups[export].items()
        ]

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Any:
        self.bodies = {download.id: self.groups[download.export][download.id][1]}
        return super().open(replace(download), offset, **watch)


def kick_off(client: httpx.Client, path: str = "/fhir/$export", **parameters: str) -> str:
    """Start an export; return its status URL."""
    answer = client.get(path, params=parameters, headers=KICK_OFF)
    assert answer.status_code == 202, answer.text
    return answer.headers["content-location"]


def manifest(client: httpx.Client, status: str) -> Any:
    """Ask for the manifest of an export that is complete."""
    answer = client.get(status, headers=STATUS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    return answer.json()


def files(client: httpx.Client, document: Any) -> list[tuple[str, bytes]]:
    """Download the files of a manifest: their types and bytes."""
    found = []
    for entry in document["output"]:
        answer = client.get(entry["url"], headers=FILE)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/fhir+ndjson")
        assert len(resources(answer.content)) == entry.get("count", len(resources(answer.content)))
        found.append((entry["type"], answer.content))
    return found


def walk(client: httpx.Client, path: str = "/fhir/$export", **parameters: str) -> list[tuple[str, bytes]]:
    """Go through an export from its start to its end."""
    status = kick_off(client, path, **parameters)
    got = files(client, manifest(client, status))
    assert client.delete(status).status_code == 202
    return got


def resources(body: bytes) -> list[Any]:
    return [orjson.loads(line) for line in body.split(b"\n") if line.strip()]


def totals(got: list[tuple[str, bytes]]) -> Counter[str]:
    """Count the resources by the type that each of them says it has."""
    return Counter(resource["resourceType"] for _, body in got for resource in resources(body))


def problems(answer: httpx.Response) -> list[tuple[str, str]]:
    """The codes and diagnostics of an OperationOutcome, whose form is checked."""
    assert answer.headers["content-type"] == "application/fhir+json"
    document = answer.json()
    assert document["resourceType"] == "OperationOutcome"
    assert {issue["severity"] for issue in document["issue"]} <= {"fatal", "error", "warning", "information"}
    return [(issue["code"], issue["diagnostics"]) for issue in document["issue"]]


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now
