"""The manifest in the folder of an export's files: what they should contain. `downloads fetch` writes it.

A client of FHIR Bulk Data leaves another kind under the same name: the one that the server gave (bulk_manifest.py). So
does `downloads fetch` where there is such a one, for others' tools; ours is then hidden beside it.

Ours is complete once every file is there as the source had it. Until then only a fetch may use it: while an export that
has changed is fetched again, its folder has old files and new ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from mockexport.bulk_manifest import BulkManifest, is_bulk_manifest, parse_bulk_manifest
from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.place import Place, read_whole
from mockexport.wire import download_body, is_plain_id, is_plain_path, read_download, same_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.model import Download

__all__ = [
    "MANIFEST",
    "OWN_MANIFEST",
    "Manifest",
    "ManifestEntry",
    "load_manifest",
    "manifest_document",
    "own_manifest",
    "read_manifest",
]

P = TypeVar("P", bound=Place)

MANIFEST = "manifest.json"
OWN_MANIFEST = ".mockexport.json"  # ours, where MANIFEST is the server's
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A download as its source declared it, its file name, and the SHA-256 of the file once it is complete."""

    download: Download
    file: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of an export. `source` is where they were fetched from, as the user named it.

    `others` are files in its folders that are not counted: those of errors and of deleted resources.
    """

    export: str
    entries: Sequence[ManifestEntry]
    source: str | None = None
    complete: bool = True
    others: Sequence[str] = ()


def own_manifest(folder: P) -> P:
    """Return where our manifest is in a folder, if it has one."""
    hidden = folder / OWN_MANIFEST
    return hidden if hidden.exists() else folder / MANIFEST


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as a JSON document: each download as in the export API, with ETag, file and SHA-256."""
    downloads = [
        {
            **download_body(entry.download)["data"],
            "etag": entry.download.etag,
            "file": entry.file,
            "sha256": entry.sha256,
        }
        for entry in manifest.entries
    ]
    return {
        "export": manifest.export,
        "source": manifest.source,
        "complete": manifest.complete,
        "downloads": downloads,
    } | ({"others": manifest.others} if manifest.others else {})


def read_manifest(path: Place, export: str) -> list[ManifestEntry] | BulkManifest | None:
    """Read the entries of a complete manifest, or the manifest of a FHIR bulk export; None if there is no manifest.

    Raises what `load_manifest` raises, and UntrustedDataError if the fetch that wrote it has not finished.
    """
    try:
        document = _document(path)
    except FileNotFoundError:
        return None
    if is_bulk_manifest(document):
        try:
            return parse_bulk_manifest(document)
        except UntrustedDataError as error:
            raise UntrustedDataError(f"{path} cannot be used as the manifest of a FHIR export: {error}") from error
    manifest = _manifest_at(path, document, export)
    if not manifest.complete:
        raise UntrustedDataError(
            f"the fetch into {path.parent} has not finished; `mockexport downloads fetch` completes it"
        )
    return list(manifest.entries)


def load_manifest(path: Place, export: str) -> Manifest | None:
    """Read a manifest, complete or not; None if there is none.

    Raises UntrustedDataError if it is invalid, is not a regular file or changes while it is read, and UnreachableError
    if it can't be read.
    """
    try:
        return _manifest_at(path, _document(path), export)
    except FileNotFoundError:
        return None


def _document(path: Place) -> Any:
    """Read the JSON in a manifest. Raises FileNotFoundError too."""
    try:
        return orjson.loads(read_whole(path))
    except FileNotFoundError:
        raise
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"{path} is not valid JSON: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot read {path}: {error.strerror}") from error


def _manifest_at(path: Place, document: Any, export: str) -> Manifest:
    try:
        return _manifest(document, export)
    except UntrustedDataError as error:
        raise UntrustedDataError(f"{path} is not a manifest of export {export!r}: {error}") from error


def _manifest(document: Any, export: str) -> Manifest:
    named = document.get("export") if isinstance(document, dict) else None
    if not isinstance(named, str) or not f"/{named}".endswith(f"/{export}"):  # group/1 is 1 in the folder of groups
        raise UntrustedDataError("it is for another export, or for none")
    source, complete = document.get("source"), document.get("complete", True)
    if source is not None and not isinstance(source, str):
        raise UntrustedDataError('"source" is not a string')
    if not isinstance(complete, bool):
        raise UntrustedDataError('"complete" is neither true nor false')
    others = document.get("others", [])
    if not isinstance(others, list) or not all(isinstance(name, str) and is_plain_path(name) for name in others):
        raise UntrustedDataError('"others" is not a list of plain names')
    return Manifest(export, _entries(document, export), source, complete, tuple(others))


def _entries(document: dict[str, Any], export: str) -> list[ManifestEntry]:
    listed = document.get("downloads")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise UntrustedDataError('"downloads" is not a list of objects')
    entries = [_entry(export, fields) for fields in listed]
    for kind, names in (("download", [same_id(e.download.id) for e in entries]), ("file", [e.file for e in entries])):
        if len(set(names)) < len(names):
            raise UntrustedDataError(f"it lists a {kind} twice")
    return entries


def _entry(export: str, fields: dict[str, Any]) -> ManifestEntry:
    name, file, sha256, etag = (fields.get(key) for key in ("id", "file", "sha256", "etag"))
    if not isinstance(name, str) or not name:
        raise UntrustedDataError("a download has no id")
    if not isinstance(file, str) or not is_plain_id(file):
        raise UntrustedDataError(f"the file name of download {name!r} is missing, or not a plain name")
    if sha256 is not None and not (isinstance(sha256, str) and SHA256.fullmatch(sha256)):
        raise UntrustedDataError(f"the sha256 of download {name!r} is not 64 hexadecimal digits")
    if etag is not None and not isinstance(etag, str):
        raise UntrustedDataError(f"the etag of download {name!r} is not a string")
    return ManifestEntry(replace(read_download(export, name, {"data": fields}), etag=etag), file, sha256)
