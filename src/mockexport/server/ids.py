"""Ids in the API: a UUID for each download, and an entity tag for each representation of its bytes.

A download whose id is a UUID keeps it, in lower case. Any other gets a version 5 UUID (RFC 9562, section 5.5) of the
JSON array `[export, id]` in the namespace below: the same after a restart, and on every machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from threading import Lock
from typing import TYPE_CHECKING
from uuid import UUID, uuid5
from weakref import WeakValueDictionary

from mockexport.errors import UntrustedDataError
from mockexport.identity import WEAK, is_strong

if TYPE_CHECKING:
    from mockexport.model import Download
    from mockexport.source import Source

__all__ = ["WireDownloads", "entity_tag", "wire_downloads", "wire_exports", "wire_id"]

CACHE_SECONDS = 1.0
NAMESPACE = UUID("6f0d1c5e-0c4b-4d0e-9a5b-6d1f3b0f7a52")
CANONICAL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TAG = re.compile(r"[!#-~]+")  # the ASCII part of what may stand between the quotes (RFC 9110, section 8.8.3)


def wire_exports(source: Source) -> list[str]:
    """Return the ids of the exports. Raises UntrustedDataError for one that JSON can't represent."""
    exports = list(source.exports())
    for export in exports:
        try:
            export.encode()
        except UnicodeEncodeError:
            raise UntrustedDataError(f"the id of export {export!r} is not UTF-8; rename it to serve it") from None
    return exports


class WireDownloads:
    """The downloads of each export by their UUIDs, cached for a second.

    A client asks for the downloads of an export one by one, and each time the source would have to list all of them.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._cache: dict[str, tuple[float, dict[str, Download]]] = {}
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def of(self, export: str) -> dict[str, Download]:
        """Return the downloads of an export, from the cache or the source; concurrent calls share one listing."""
        lock = self._locks.setdefault(export, Lock())
        with lock:
            asked, downloads = self._cache.get(export, (0.0, {}))
            if not downloads or time.monotonic() - asked > CACHE_SECONDS:
                self._cache.pop(export, None)
                downloads = wire_downloads(self._source, export)
                self._cache[export] = (time.monotonic(), downloads)
            return downloads


def wire_downloads(source: Source, export: str) -> dict[str, Download]:
    """Return an export's downloads by their UUIDs, in order. Raises UntrustedDataError for two with the same one."""
    found: dict[str, Download] = {}
    for download in source.downloads(export):
        other = found.setdefault(wire_id(download), download)
        if other is not download:
            raise UntrustedDataError(
                f"downloads {other.id!r} and {download.id!r} of export {export!r} have the same UUID; rename one"
            )
    return found


def wire_id(download: Download) -> str:
    """Return a download's UUID."""
    lower = download.id.lower()
    if CANONICAL.fullmatch(lower):
        return lower
    return str(uuid5(NAMESPACE, json.dumps([download.export, download.id], separators=(",", ":"))))


def entity_tag(download: Download, encoding: str | None = None) -> str | None:
    """Return the ETag of a download, as it is or in a content coding; None if the source declares none.

    It is weak if the source's is (RFC 9110, section 8.8.1), and differs between codings (section 8.8.3.3).
    """
    if not download.etag:
        return None
    weak = "" if is_strong(download.etag) else WEAK
    tag = download.etag.removeprefix(weak)
    if not TAG.fullmatch(tag):
        tag = hashlib.sha256(tag.encode(errors="surrogateescape")).hexdigest()
    return f'{weak}"{tag}-{encoding}"' if encoding else f'{weak}"{tag}"'
