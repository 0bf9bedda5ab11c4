"""Folders of FHIR NDJSON as clients of bulk exports leave them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from pathlib import Path

SERVER = "https://ehr.example/fhir"


def patients(*ids: str) -> bytes:
    return lines({"resourceType": "Patient", "id": name} for name in ids)


def observations(*ids: str) -> bytes:
    """An observation for each patient that is named."""
    return lines(
        {"resourceType": "Observation", "id": f"o{number}", "subject": {"reference": f"Patient/{name}"}}
        for number, name in enumerate(ids)
    )


def lines(resources: Any) -> bytes:
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


EXPORTED = [
    ("Patient", patients("1", "2")),
    ("Observation", observations("1", "1")),
    ("Observation", observations("2")),
]
COUNTS = {"1": {"Observation": 2, "Patient": 1}, "2": {"Observation": 1, "Patient": 1}}


def listed(kind: str, name: str, body: bytes | None = None) -> dict[str, Any]:
    """A file in a manifest of a server; with its count, if the body is given."""
    entry = {"type": kind, "url": f"{SERVER}/bulk/7/{name}"}
    return entry if body is None else {**entry, "count": body.count(b"\n")}


def write_manifest(folder: Path, output: list[dict[str, Any]], **more: Any) -> None:
    document = {
        "transactionTime": "2025-06-26T00:00:00Z",
        "request": f"{SERVER}/Patient/$export",
        "requiresAccessToken": False,
        "output": output,
        "deleted": [],
        "error": [],
        **more,
    }
    (folder / "manifest.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def bulk_data_client(folder: Path, *, numbered: bool = True, manifest: bool = True) -> list[str]:
    """Leave an export as bulk-data-client does; return the names of its files, in the manifest's order."""
    folder.mkdir(exist_ok=True)
    numbers: dict[str, int] = {}
    names, output = [], []
    for place, (kind, body) in enumerate(EXPORTED):
        numbers[kind] = numbers.get(kind, 0) + 1
        url_name = f"{place:04}.ndjson"
        names.append(f"{numbers[kind]}.{kind}.ndjson" if numbered else url_name)
        (folder / names[-1]).write_bytes(body)
        output.append(listed(kind, url_name, body))
    for other in ("deleted", "error", "attachments"):
        (folder / other).mkdir()
        (folder / other / "1.Bundle.ndjson").write_bytes(b'{"resourceType":"Bundle"}\n')
    write_log(folder, [(f"{place:04}.ndjson", body.count(b"\n")) for place, (_, body) in enumerate(EXPORTED)])
    if manifest:
        write_manifest(folder, output)
    return names


def write_log(folder: Path, files: list[tuple[str, int | None]], export: str = "e1", *, more: bool = False) -> None:
    """Write the log of bulk-data-client, or go on with it."""
    events = [("kickoff", {"exportUrl": f"{SERVER}/Patient/$export"}), ("status_complete", {"outputFileCount": 3})]
    for name, rows in files:
        url = f"{SERVER}/bulk/7/{name}"
        events.append(("download_request", {"fileUrl": url, "itemType": "output"}))
        events.append(("download_complete", {"fileUrl": url, "fileSize": 5, "resourceCount": rows}))
    events.append(("export_complete", {"files": len(files)}))
    with (folder / "log.ndjson").open("ab" if more else "wb") as file:
        for event, detail in events:
            document = {
                "exportId": export,
                "timestamp": "2025-06-26T00:00:00Z",
                "eventId": event,
                "eventDetail": detail,
            }
            file.write(orjson.dumps(document) + b"\n")


RUNS = {  # of smart-fetch: the first one's patients are replaced by the last one's
    "001.2025-06-26": {"Patient.001": patients("old")},
    "002.2025-06-27": {"Observation.001": observations("1", "1"), "Observation.002": observations("2")},
    "003.again": {"Patient.001": patients("1", "2")},
}
LINKS = {
    "Patient.001": "003.again/Patient.001",
    "Observation.001": "002.2025-06-27/Observation.001",
    "Observation.002": "002.2025-06-27/Observation.002",
}


def smart_fetch(folder: Path) -> None:
    """Leave an export as smart-fetch does: a folder for each run, and symbolic links to what counts at the top."""
    for run, files in RUNS.items():
        (folder / run).mkdir(parents=True)
        (folder / run / ".metadata").write_bytes(b"{}")
        write_log(folder / run, [])
        for name, body in files.items():
            (folder / run / f"{name}.ndjson.gz").write_bytes(gzip.compress(body))
    (folder / ".metadata").write_bytes(b"{}")
    for name, target in LINKS.items():
        (folder / f"{name}.ndjson.gz").symlink_to(f"{target}.ndjson.gz")
