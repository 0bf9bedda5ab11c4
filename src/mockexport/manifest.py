"""The manifest beside an export's CSV files: what they should hold. `downloads fetch` writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.local_file import read_whole
from mockexport.wire import download_body, is_plain_id, read_download, same_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mockexport.catalog import Download

__all__ = ["MANIFEST", "ManifestEntry", "manifest_document", "read_manifest"]

MANIFEST = "manifest.json"
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A download as it was declared, its file, and the file's SHA-256 once it is known to be whole."""

    download: Download
    file: str
    sha256: str | None


def manifest_document(export: str, entries: Sequence[ManifestEntry]) -> dict[str, Any]:
    """Return the manifest as JSON takes it: each download as on the wire, with its file and its SHA-256."""
    downloads = [
        {**download_body(entry.download)["data"], "file": entry.file, "sha256": entry.sha256} for entry in entries
    ]
    return {"export": export, "downloads": downloads}


def read_manifest(path: Path, export: str) -> list[ManifestEntry] | None:
    """Read a manifest; None when there is none.

    Raises UntrustedDataError when it makes no sense, is not a regular file, or changes while it is read.
    """
    try:
        document = orjson.loads(read_whole(path))
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"{path} is no JSON: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot read {path}: {error.strerror}") from error
    try:
        return _entries(document, export)
    except UntrustedDataError as error:
        raise UntrustedDataError(f"{path} is no manifest of export {export!r}: {error}") from error


def _entries(document: Any, export: str) -> list[ManifestEntry]:
    if not isinstance(document, dict) or document.get("export") != export:
        raise UntrustedDataError("it names another export, or none")
    listed = document.get("downloads")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise UntrustedDataError('"downloads" is no list of objects')
    entries = [_entry(export, fields) for fields in listed]
    for kind, names in (("download", [same_id(e.download.id) for e in entries]), ("file", [e.file for e in entries])):
        if len(set(names)) < len(names):
            raise UntrustedDataError(f"it lists a {kind} twice")
    return entries


def _entry(export: str, fields: dict[str, Any]) -> ManifestEntry:
    name, file, sha256 = fields.get("id"), fields.get("file"), fields.get("sha256")
    if not isinstance(name, str) or not name:
        raise UntrustedDataError("a download has no id")
    if not isinstance(file, str) or not is_plain_id(file):
        raise UntrustedDataError(f"download {name!r} has no file name that stays in the folder")
    if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
        raise UntrustedDataError(f"download {name!r} has a sha256 that is none")
    return ManifestEntry(read_download(export, name, {"data": fields}), file, sha256)
