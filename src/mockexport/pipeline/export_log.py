"""The log of a bulk export, `log.ndjson`: one event in each line, with the names and fields that clients of FHIR use.

Lines are only ever added. Each goes to the file in one write, and a half line that a killed run has left is cut off
before the next one. Nothing can be added to an object in a store: there, lines are collected, and all are written anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from mockexport.bulk_manifest import LOG
from mockexport.files import append_line, drop_half_line
from mockexport.place import read_whole, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.place import Place
    from mockexport.source import BulkExport

__all__ = ["ExportLog"]


@dataclass(frozen=True, slots=True)
class ExportLog:
    """The log in a folder, and the id in it of an export: the URL of its status. Raises OSError as files do.

    In a store, `lines` are those to be written by `save`.
    """

    folder: Place
    export: str
    lines: list[bytes] = field(default_factory=list)

    def of_file(self) -> ExportLog:
        """Return the log for the events of one file, which a worker adds; `take` its `lines`, if it is in a store."""
        return replace(self, lines=[])

    def take(self, lines: Sequence[bytes]) -> None:
        """Add what a worker has collected."""
        self.lines.extend(lines)

    def save(self) -> None:
        """In a store, write all lines. Raises what `write_whole` raises."""
        if not isinstance(self.folder, Path):
            write_whole(self.folder / LOG, b"".join(line + b"\n" for line in self.lines))

    def add(self, event: str, detail: dict[str, Any], when: datetime | None = None) -> None:
        """Add an event, of now unless told otherwise. Threads and processes may do so at the same time."""
        document = {
            "exportId": self.export,
            "timestamp": (when or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "eventId": event,
            "eventDetail": detail,
        }
        line = orjson.dumps(document)
        if isinstance(self.folder, Path):
            append_line(self.folder / LOG, line)
        else:
            self.lines.append(line)

    def begin(self, exported: BulkExport) -> None:
        """Add how the export was made; a run before may have done so, or may have been killed on the way."""
        if isinstance(self.folder, Path):
            drop_half_line(self.folder / LOG)
        else:
            self.lines[:] = self._written()
        manifest = orjson.loads(exported.manifest)
        time = manifest.get("transactionTime")
        files = {
            name: sum(len(manifest.get(key) or ()) for key in keys)
            for name, keys in (("Output", ("output",)), ("Deleted", ("deleted",)), ("Error", ("error", "outcome")))
        }
        page = {f"{name.lower()}FileCount": number for name, number in files.items()}
        total = {f"total{name}FileCount": number for name, number in files.items()}
        details = {
            "kickoff": _kickoff(exported.kick_off),
            "status_complete": {"transactionTime": time},
            "status_page_complete": {"transactionTime": time, **page},
            "manifest_complete": {"transactionTime": time, **total, "totalManifests": 1},
        }
        last, events = self._last_event(), list(details)
        if last is not None and last not in events:  # before any other event, all of these were added
            return
        for event in events[events.index(last) + 1 :] if last else events:
            self.add(event, details[event], _time(exported.began) if event == "kickoff" else None)

    def complete(self, exported: BulkExport, rows: Sequence[int], sizes: Sequence[int]) -> None:
        """Add that all files are there, unless that is the last event."""
        if self._last_event() == "export_complete":
            return
        began = _time(exported.began)
        seconds = (datetime.now(UTC) - began).total_seconds() if began else 0.0
        self.add(
            "export_complete",
            {
                "files": len(rows),
                "resources": sum(rows),
                "bytes": sum(sizes),
                "attachments": None,
                "duration": max(0, round(seconds * 1000)),
            },
        )

    def _written(self) -> list[bytes]:
        try:
            return read_whole(self.folder / LOG).splitlines()
        except FileNotFoundError:
            return []

    def _last_event(self) -> str | None:
        """Return the event of the last line; None where there is none of this export."""
        lines = self._written() if isinstance(self.folder, Path) else self.lines
        try:
            last = orjson.loads(lines[-1])
        except (IndexError, orjson.JSONDecodeError):
            return None
        is_ours = isinstance(last, dict) and last.get("exportId") == self.export
        return str(last.get("eventId")) if is_ours else None


def _kickoff(url: str) -> dict[str, Any]:
    asked = {name: ",".join(values) for name, values in parse_qs(urlsplit(url).query).items() if name != "patient"}
    unknown = ("softwareName", "softwareVersion", "softwareReleaseDate", "fhirVersion", "errorCode", "errorBody")
    return {"exportUrl": url, **dict.fromkeys(unknown), "requestParameters": asked, "responseHeaders": {}}


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
