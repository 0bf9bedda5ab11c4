"""Which file of a folder is which of a FHIR bulk export: by the server's manifest, or by the log of bulk-data-client.

A client names the files as their URLs end; or it numbers those of each type, in the manifest's order: bulk-data-client
calls them `1.Patient.ndjson`, `1.Observation.ndjson`, `2.Observation.ndjson`. Either may be compressed since.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import orjson

from mockexport.bulk_manifest import LOG
from mockexport.errors import MockExportError, Remedy, UntrustedDataError
from mockexport.manifest import MANIFEST, OWN_MANIFEST, ManifestEntry
from mockexport.model import Download
from mockexport.place import read_whole
from mockexport.sources.data_files import data_id, is_data, uncompressed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mockexport.bulk_manifest import BulkFile, BulkManifest
    from mockexport.place import Place

__all__ = ["LOG", "check_same", "entries_of", "names_in", "rows_in_log"]


def names_in(manifest: BulkManifest) -> set[str]:
    """Return the names that the files of a manifest have where they are named as their URLs end, not compressed."""
    return {_named_by(file.url) for file in (*manifest.output, *manifest.deleted, *manifest.errors)}


@dataclass(frozen=True, slots=True)
class Differs:
    """How the files of a folder differ from those that its manifest lists: by their names."""

    missing: list[str] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)

    def check(self, folder: Place) -> None:
        """Raise UntrustedDataError if they differ."""
        for name in self.missing:
            raise UntrustedDataError(
                f"{folder / MANIFEST} lists {name}, which is not there; `mockexport downloads fetch` completes it"
            )
        for name in self.undeclared:
            raise UntrustedDataError(
                f"{folder / name} is not listed in its folder's {MANIFEST}; move the file away, or list it there"
            )


def entries_of(
    manifest: BulkManifest, path: Place, export: str, files: Collection[str], differs: Differs | None = None
) -> list[ManifestEntry]:
    """Return what a manifest, which lies at `path`, declares of the files beside it, in its order.

    Raises UntrustedDataError when one of them could be two of those that it lists, or when they are others; with
    `differs`, that is added there.
    """
    file_of = {uncompressed(name): name for name in files}
    names = _names(manifest.output, file_of)
    for name, times in Counter(names).items():
        if name not in file_of and differs is not None:
            differs.missing.append(name)
        elif name not in file_of:
            raise UntrustedDataError(
                f"{path} lists {name}, which is not there; download it again, or remove its entry to do without"
            )
        if times > 1:
            raise UntrustedDataError(f"{path} lists {name} {times} times; keep the entry that {file_of[name]} is of")
    others = {_named_by(file.url) for file in (*manifest.deleted, *manifest.errors)}
    for name in sorted(file_of.keys() - set(names) - others):
        if differs is not None:
            differs.undeclared.append(file_of[name])
            continue
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
        if name in file_of
    ]


class OtherFiles(NamedTuple):
    """The files of an export that are not counted: those that are there, by their ids, and those that are not."""

    there: dict[str, Place]
    missing: list[str]


def other_files(manifest: BulkManifest | None, folder: Place, kind: str) -> OtherFiles:
    """Return the files of deleted resources or of errors: `kind` is `deleted` or `error`, as clients call their folder.

    With a manifest they are those that it lists, there or beside the others; without one, all that are there.
    """
    found = OtherFiles({}, [])
    inside = folder / kind
    present = sorted(file.name for file in inside.iterdir() if is_data(file.name)) if inside.is_dir() else []
    if manifest is None:
        found.there.update((f"{kind}/{data_id(name)}", inside / name) for name in present)
        return found
    listed = manifest.deleted if kind == "deleted" else manifest.errors
    usual = "Bundle" if kind == "deleted" else "OperationOutcome"
    numbers: Counter[str] = Counter()
    for file in listed:
        numbers[file.type or usual] += 1
        name = f"{numbers[file.type or usual]}.{file.type or usual}"
        candidates = [inside / f"{name}.ndjson", inside / _named_by(file.url), folder / _named_by(file.url)]
        there = next((path for path in candidates if path.is_file()), None)
        if there:
            found.there[f"{kind}/{name}"] = there
        else:
            found.missing.append(f"{kind}/{name}")
    return found


def issues_in(files: Iterable[Place]) -> Counter[tuple[str, str]]:
    """Return the issues in files of errors, by severity and code."""
    from mockexport.sources.fhir import read_issues  # with all that a client needs

    return sum((read_issues(read_whole(file).splitlines()).numbers for file in files), Counter())


def check_same(manifest: BulkManifest, path: Place, entries: Sequence[ManifestEntry]) -> None:
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


def rows_in_log(path: Place, files: Collection[str]) -> tuple[dict[str, int], str | None]:
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
