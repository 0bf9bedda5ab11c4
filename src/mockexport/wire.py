"""The URL paths and JSON documents of the export API: the one contract of client and server (docs/wire.md).

`*_body` builds a document that the server sends, `read_*` parses one that a client received. Every document is an
object with one key, `data`. Times are ISO 8601 without an offset, in UTC.
"""

from __future__ import annotations

import re
import reprlib
import string
from itertools import islice
from operator import eq
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from mockexport.errors import UntrustedDataError
from mockexport.model import Download, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = [
    "API",
    "CONTENT_TYPES",
    "MEDIA_TYPES",
    "download_body",
    "download_path",
    "export_body",
    "export_path",
    "exports_body",
    "is_plain_id",
    "is_plain_path",
    "read_download",
    "read_export",
    "read_exports",
    "same_id",
]

API = "/api/export"
MEDIA_TYPES = {"csv": "text/csv", "ndjson": "application/fhir+ndjson"}
CONTENT_TYPES = MEDIA_TYPES | {"csv": "text/csv; charset=utf-8"}
"""The media types of a download's bytes by its format: those to ask for, and those that are sent."""

PLAIN_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_.")
PLAIN_ID_LENGTH = 128
UUID_TEXT = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
SHOWN = 60  # characters of an invalid value
DOTS = {".": "%2E", "..": "%2E%2E"}

T = TypeVar("T")


def export_path(export: str) -> str:
    """Return the path of an export, relative to the server's root."""
    return f"{API}/{_segment(export)}"


def download_path(export: str, download: str) -> str:
    """Return the path of a download's metadata; the path of its bytes is that plus `/data`."""
    return f"{export_path(export)}/{_segment(download)}"


def _segment(text: str) -> str:
    """Quote an id as one segment of a path; also `.` and `..`, which would be resolved (RFC 3986, section 5.2.4)."""
    return DOTS.get(text) or quote(text, safe="", errors="surrogateescape")


def is_plain_id(text: str) -> bool:
    """Return whether an id is safe as a file name: 1 to 128 letters, digits, `-`, `_` and `.`, the first not a dot."""
    return 0 < len(text) <= PLAIN_ID_LENGTH and not text.startswith(".") and PLAIN_ID_CHARACTERS.issuperset(text)


def is_plain_path(text: str) -> bool:
    """Return whether an id is safe as the path of a file: a plain id, or two with a slash between, as in `group/1`."""
    return all(map(is_plain_id, text.split("/"))) and text.count("/") <= 1


def same_id(download: str) -> str:
    """Return an id in the form to compare it by: UUIDs are compared without case (RFC 9562, section 4)."""
    return download.lower() if UUID_TEXT.fullmatch(download) else download


def exports_body(exports: list[str]) -> dict[str, Any]:
    """Build the response to `GET /api/export`."""
    return {"data": {"export_ids": exports}}


def export_body(export: str, downloads: list[str]) -> dict[str, Any]:
    """Build the response to `GET /api/export/{export_id}`."""
    return {"data": {"id": export, "download_ids": downloads}}


def download_body(download: Download) -> dict[str, Any]:
    """Build the response to `GET /api/export/{export_id}/{download_id}`; what is not declared is null.

    It has `format`, and `base` if that is known, only where the bytes are not CSV.
    """
    data: dict[str, Any] = {
        "id": download.id,
        "rows": download.rows,
        "event_types": download.event_types,
        "patients": download.patients,
        "start_time": naive_time(download.start_time),
        "end_time": naive_time(download.end_time),
    }
    if download.format != "csv":
        data["format"] = download.format
    if download.base is not None:
        data["base"] = download.base
    return {"data": data}


def naive_time(time: datetime | None) -> str | None:
    """Format a UTC time without its offset."""
    return None if time is None else time.replace(tzinfo=None).isoformat()


def read_exports(answer: object) -> list[str]:
    """Return the export ids in the response to `GET /api/export`. Raises UntrustedDataError if it is invalid."""
    return _texts(_data(answer), "export_ids")


def read_export(answer: object) -> list[str]:
    """Return the download ids in the response to `GET /api/export/{export_id}`.

    Raises UntrustedDataError if it is invalid, or names a download twice.
    """
    return _texts(_data(answer), "download_ids", same_id)


def read_download(export: str, download: str, answer: object) -> Download:
    """Return the download in the response to `GET /api/export/{export_id}/{download_id}`.

    Raises UntrustedDataError if it is invalid, or describes another download.
    """
    data = _data(answer)
    if data.get("id") != download:
        raise UntrustedDataError(f"the metadata of download {download!r} is for another one: {_short(data.get('id'))}")
    rows = _optional(data, "rows", int)
    if rows is not None and rows < 0:
        raise UntrustedDataError(f"the metadata of download {download!r} declares {rows} rows")
    written = _optional(data, "format", str) or "csv"
    if written not in MEDIA_TYPES:
        raise UntrustedDataError(f"download {download!r} has a format that this version cannot read: {_short(written)}")
    return Download(
        export=export,
        id=download,
        rows=rows,
        event_types=_optional_texts(data, "event_types"),
        patients=_optional_texts(data, "patients"),
        start_time=_optional_time(data, "start_time"),
        end_time=_optional_time(data, "end_time"),
        format=written,
        base=_optional(data, "base", str),
    )


def _data(answer: object) -> dict[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        raise UntrustedDataError(f'the response has no object "data": {_short(answer)}')
    return data


def _texts(data: dict[str, Any], key: str, same: Callable[[str], str] = str) -> list[str]:
    """Return a list of names; `same` is equal for two that name the same."""
    texts = data.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise UntrustedDataError(f"{key!r} is not a list of non-empty strings: {_short(texts)}")
    ordered = sorted(map(same, texts))  # a set would take as much memory as the ids again
    if any(map(eq, ordered, islice(ordered, 1, None))):
        raise UntrustedDataError(f"{key!r} has a duplicate: {_short(texts)}")
    return texts


def _optional(data: dict[str, Any], key: str, kind: type[T]) -> T | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UntrustedDataError(f"{key!r} is not of type {kind.__name__}: {_short(value)}")
    return value


def _optional_texts(data: dict[str, Any], key: str) -> tuple[str, ...] | None:
    return None if data.get(key) is None else tuple(_texts(data, key))


def _optional_time(data: dict[str, Any], key: str) -> datetime | None:
    text = _optional(data, key, str)
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise UntrustedDataError(f"{key!r} is not an ISO 8601 time: {_short(text)}") from error


def _short(value: object) -> str:
    text = reprlib.repr(value)  # bounded: a response may be of any size
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
