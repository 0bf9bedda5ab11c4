"""Which file of a folder is which of a FHIR bulk export: by the server's manifest, or by the log of bulk-data-client.

A client names the files as their URLs end; or it numbers those of each type, in the manifest's order: bulk-data-client
calls them `1.Patient.ndjson`, `1.Observation.ndjson`, `2.Observation.ndjson`. Either may be compressed since.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from mockexport.bulk_manifest import LOG
from mockexport.errors import MockExportError, Remedy, UntrustedDataError
from mockexport.local_file import read_whole
from mockexport.manifest import OWN_MANIFEST, ManifestEntry
from mockexport.model import Download
from mockexport.sources.data_files import data_id, uncompressed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from mockexport.bulk_manifest import BulkFile, BulkManifest

__all__ = ["LOG", "check_same", "entries_of", "names_in", "rows_in_log"]


def names_in(manifest: BulkManifest) -> set[str]:
    """Return the names that the files of a manifest have where they are named as their URLs end, not compressed."""
    return {_named_by(file.url) for file in (*manifest.output, *manifest.deleted, *manifest.errors)}


def entries_of(manifest: BulkManifest, path: Path, export: str, files: Collection[str]) -> list[ManifestEntry]:
    """Return what a manifest, which lies at `path`, declares of the files beside it, in its order.

    Raises UntrustedDataError when they are others than it lists, or when one of them could be two of those.
    """
    file_of = {uncompressed(name): name for name in files}
    names = _names(manifest.output, file_of)
    for name, times in Counter(names).items():
        if name not in file_of:
            raise UntrustedDataError(
                f"{path} lists {name}, which is not there; download it again, or remove its entry to do without"
            )
        if times > 1:
            raise UntrustedDataError(f"{path} lists {name} {times} times; keep the entry that {file_of[name]} is of")
    others = {_named_by(file.url) for file in (*manifest.deleted, *manifest.errors)}
    for name in sorted(file_of.keys() - set(names) - others):
        raise UntrustedDataError(
            f"{path.parent / file_of[name]} is not listed in its folder's {path.name}; move the file away",
            remedy=Remedy.IGNORE,
        )
    return [
        ManifestEntry(
            Download(
                export,
                data_id(file_of[name]),
                rows=file.count,
                event_types=(file.type,),
                format="ndjson",
                base=manifest.base,
            ),
            file_of[name],
            None,
        )
        for name, file in zip(names, manifest.output, strict=True)
    ]


def check_same(manifest: BulkManifest, path: Path, entries: Sequence[ManifestEntry]) -> None:
    """Raise UntrustedDataError where a manifest, which lies at `path`, declares other files than ours beside it."""
    declared = [((file.type,), file.count) for file in manifest.output]
    if declared != [(entry.download.event_types, entry.download.rows) for entry in entries]:
        raise UntrustedDataError(
            f"{path} and {OWN_MANIFEST} beside it declare different files; fetch the export into another folder, or "
            f"remove {OWN_MANIFEST}: then the files are compared with {path.name} alone"
        )


def _names(listed: Sequence[BulkFile], found: Collection[str]) -> list[str]:
    """Return the name that the file of each entry has: all as their URLs end, or else all by number."""
    by_url = [_named_by(file.url) for file in listed]
    numbers: Counter[str] = Counter()
    by_number = []
    for file in listed:
        numbers[file.type] += 1
        by_number.append(f"{numbers[file.type]}.{file.type}.ndjson")
    return max(by_url, by_number, key=lambda names: len(set(names).intersection(found)))  # by URL, if it is a tie


def rows_in_log(path: Path, files: Collection[str]) -> tuple[dict[str, int], str | None]:
    """Return the rows that a client's log declares of each file beside it, and what there is to tell of the log itself.

    The events are those of its last export. They name files by their URLs; unless these are the names of all files,
    nothing is declared, for then the client has numbered the files, and their order is not in the log.
    """
    try:
        lines = read_whole(path).splitlines()
    except FileNotFoundError:
        return {}, None
    except (OSError, MockExportError) as error:
        return {}, f"{path} is not used: {error}"
    rows: dict[str, int | None] = {}
    bad, last = 0, None
    for line in filter(None, lines):
        try:
            event: Any = orjson.loads(line)
            if event["exportId"] != last:
                rows, last = {}, event["exportId"]
            if event["eventId"] == "download_complete":
                detail = event["eventDetail"]
                name, number = _named_by(detail["fileUrl"]), detail["resourceCount"]
                is_number = isinstance(number, int) and number >= 0
                rows[name] = number if is_number and name not in rows else None
        except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, or of another shape
            bad += 1
    told = f"{path} has {bad:,} lines that are not events of an export; they are passed over" if bad else None
    found = {name: rows.get(uncompressed(name)) for name in files}
    if None in found.values():
        return {}, told
    return {name: number for name, number in found.items() if number is not None}, told


def _named_by(url: str) -> str:
    """Return the name of the file that a URL ends in, without the suffix of its compression."""
    return uncompressed(unquote(url.partition("#")[0].partition("?")[0].rpartition("/")[2]))
