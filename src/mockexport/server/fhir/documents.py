"""A job and its files as documents (`mockexport.shared`), and back: all that they had, exactly.

They are written by `json`, not by orjson, since the name of a file may have bytes that are not UTF-8.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.model import Download

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JobFile", "Request", "read_files", "read_request", "write_files", "write_request"]

NAMES = [field.name for field in fields(Download)]
TIMES = ("start_time", "end_time")
TUPLES = ("event_types", "patients")


class Request(NamedTuple):
    """What a job was begun with. Times are seconds since 1970."""

    url: str  # of the kick-off
    started: float  # before the files were listed: they have what there was by then
    seconds: float  # how long it takes
    partial: bool = False  # the client allows a manifest in parts
    notes: tuple[dict[str, Any], ...] = ()  # issues with the request, which was accepted all the same


class JobFile(NamedTuple):
    """A file of an export: its name in URLs, the type of its resources, and the download that has its bytes."""

    name: str
    type: str
    download: Download


def write_request(request: Request) -> bytes:
    """Return a document of what a job was begun with."""
    return _written(request._asdict())


def read_request(document: bytes) -> Request:
    """Read what `write_request` has written."""
    found = json.loads(document)
    return Request(**{**found, "notes": tuple(found["notes"])})


def write_files(files: Mapping[str, JobFile]) -> bytes:
    """Return a document of the files of a job, in order."""
    return _written([[file.name, file.type, _declared(file.download)] for file in files.values()])


def read_files(document: bytes) -> dict[str, JobFile]:
    """Read what `write_files` has written."""
    return {name: JobFile(name, kind, _download(declared)) for name, kind, declared in json.loads(document)}


def _declared(download: Download) -> dict[str, Any]:
    found = {name: value for name in NAMES if (value := getattr(download, name)) is not None}
    return found | {name: found[name].isoformat() for name in TIMES if name in found}


def _download(declared: dict[str, Any]) -> Download:
    times = {name: datetime.fromisoformat(declared[name]) for name in TIMES if name in declared}
    tuples = {name: tuple(declared[name]) for name in TUPLES if name in declared}
    return Download(**declared | times | tuples)


def _written(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
