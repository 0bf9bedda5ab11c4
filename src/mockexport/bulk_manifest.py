"""The manifest of a FHIR bulk export: the files that its server made (FHIR Bulk Data Access IG, "Export Manifest").

A server answers with it when an export is complete, and clients keep it as `manifest.json` beside the files.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from mockexport.errors import UntrustedDataError
from mockexport.model import parse_time, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["LOG", "BulkFile", "BulkManifest", "bulk_manifest_body", "is_bulk_manifest", "parse_bulk_manifest"]

RESOURCE_TYPE = re.compile("[A-Za-z][A-Za-z0-9_]{0,63}")  # files are named by it
LOG = "log.ndjson"  # what clients tell of an export, in its folder
KICK_OFF = re.compile(r"(https?://.+?)(?:/Patient|/Group/[^/]+)?/(?:\$|%24)export/?(?:[?#].*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BulkFile:
    """A file of an export: its URL, the type of its resources, and how many they are, if the server says so."""

    url: str
    type: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class BulkManifest:
    """The files of an export, and those of resources that were deleted since the last one, and of errors.

    `base` is the URL of the FHIR server, if the manifest tells. `requires_token` says whether files are asked for with
    the token. `request` is the URL that began the export, and `transaction_time` when its resources were as they are in
    it; None if the manifest does not tell.
    """

    output: tuple[BulkFile, ...]
    deleted: tuple[BulkFile, ...] = ()
    errors: tuple[BulkFile, ...] = ()
    base: str | None = None
    requires_token: bool = True
    request: str | None = None
    transaction_time: datetime | None = None

    @property
    def types(self) -> tuple[str, ...] | None:
        """The types that were asked for, all if it is empty; None if that is not known."""
        if self.request is None:
            return None
        named = self._asked("_type")
        return tuple(dict.fromkeys(name for text in named for name in text.split(",") if name))

    @property
    def since(self) -> datetime | None:
        """Since when changes were asked for, if they were."""
        return _time(next(iter(self._asked("_since")), None))

    def _asked(self, name: str) -> list[str]:
        try:
            return parse_qs(urlsplit(self.request or "").query).get(name, [])
        except ValueError:
            return []


def is_bulk_manifest(document: Any) -> bool:
    """Return whether a JSON document is meant as the manifest of a bulk export."""
    return isinstance(document, dict) and "output" in document


def parse_bulk_manifest(document: Any) -> BulkManifest:
    """Read a manifest, of any version of the IG; what it says beyond the fields here is passed over.

    Raises UntrustedDataError when it is invalid, or when its output is organised by another thing than types.
    """
    if not is_bulk_manifest(document):
        raise UntrustedDataError('it has no "output"')
    request = document.get("request")
    if request is not None and not isinstance(request, str):
        raise UntrustedDataError('"request" is not a string')
    return BulkManifest(
        output=_files(document, "output"),
        deleted=_files(document, "deleted"),
        errors=_files(document, "error") + _files(document, "outcome"),  # as version 4 of the IG calls it
        base=_base(request),
        requires_token=document.get("requiresAccessToken") is not False,
        request=request,
        transaction_time=_time(document.get("transactionTime")),
    )


def bulk_manifest_body(
    *,
    transaction_time: datetime,
    request: str,
    requires_token: bool,
    output: Iterable[tuple[str, str, int | None]],
    errors: Iterable[tuple[str, str, int | None]] = (),
    next_url: str | None = None,
) -> dict[str, Any]:
    """Build a manifest: files are types, URLs and numbers of resources, which are left out where they are not known.

    `next_url` is where the next part of the manifest is; only clients that allow parts may get one (version 3.0).
    """
    document: dict[str, Any] = {
        "transactionTime": time_text(transaction_time),
        "request": request,
        "requiresAccessToken": requires_token,
        "output": [_entry(*file) for file in output],
        "deleted": [],
        "error": [_entry(*file) for file in errors],
    }
    return document | ({"link": [{"relation": "next", "url": next_url}]} if next_url else {})


def _entry(kind: str, url: str, count: int | None) -> dict[str, Any]:
    return {"type": kind, "url": url} | ({} if count is None else {"count": count})


def _time(text: Any) -> datetime | None:
    """Return a time; None for anything else: what depends on it is then not told."""
    if isinstance(text, str):
        with suppress(ValueError):
            return parse_time(text)
    return None


def _base(request: str | None) -> str | None:
    """Return the URL of the server in that of a kick-off: `[base]/$export`, `[base]/Patient/$export` or by group."""
    found = KICK_OFF.fullmatch(request or "")
    return found[1] if found else None


def _files(document: dict[str, Any], key: str) -> tuple[BulkFile, ...]:
    listed = document.get(key)
    if listed is None and key != "output":
        return ()
    if not isinstance(listed, list) or not all(isinstance(fields, dict) for fields in listed):
        raise UntrustedDataError(f'"{key}" is not a list of objects')
    _check_continued(listed)
    organised = document.get("outputOrganizedBy") if key == "output" else None
    return tuple(_file(key, number, fields, organised) for number, fields in enumerate(listed, start=1))


def _check_continued(listed: list[dict[str, Any]]) -> None:
    """Raise UntrustedDataError where a file continues in one that is not listed."""
    urls = {fields.get("url") for fields in listed}
    for fields in listed:
        rest = fields.get("continuesInFile")
        if rest is not None and rest not in urls:
            raise UntrustedDataError(f"{fields.get('url')} continues in {rest!r:.200}, which is not listed")


def _file(key: str, number: int, fields: dict[str, Any], organised: Any) -> BulkFile:
    url, kind, count = (fields.get(name) for name in ("url", "type", "count"))
    if not isinstance(url, str) or not url:
        raise UntrustedDataError(f'entry {number} of "{key}" has no "url"')
    if not kind and key == "output":
        what = f"output organised by {organised} is" if isinstance(organised, str) else "files of several types are"
        raise UntrustedDataError(f'{url} has no "type"; {what} not supported yet')
    if kind and not (isinstance(kind, str) and RESOURCE_TYPE.fullmatch(kind)):
        raise UntrustedDataError(f'the "type" of {url} is not the name of a type of resources')
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise UntrustedDataError(f'the "count" of {url} is not a number of resources')
    return BulkFile(url, kind or "", count)
