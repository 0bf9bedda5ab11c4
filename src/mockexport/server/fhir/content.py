"""What an export holds: the files for each level, of the types that a client wants."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from mockexport.bulk_wire import fhir_id, issue
from mockexport.errors import UntrustedDataError
from mockexport.server.fhir.documents import JobFile
from mockexport.server.fhir.refusal import Refusal
from mockexport.server.ids import wire_exports
from mockexport.tally import PATIENT_PATHS

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from mockexport.model import Download
    from mockexport.source import Source

__all__ = ["PATIENT_TYPES", "find_group", "groups", "job_files"]

PATIENT_TYPES = frozenset(PATIENT_PATHS)
"""The types that are about a patient: what `Patient/$export` has."""

MOST_FILES = 100_000  # of an export, which is kept in memory


def groups(source: Source) -> dict[str, str]:
    """Return the exports of a source by their ids as Groups. Raises UntrustedDataError for two with the same one."""
    found: dict[str, str] = {}
    for export in wire_exports(source):
        if found.setdefault(fhir_id(export), export) != export:
            raise UntrustedDataError(f"two exports have the id {fhir_id(export)!r} as a Group; rename one")
    return found


def find_group(source: Source, group: str) -> str:
    """Return the export that is a Group. Raises Refusal."""
    export = groups(source).get(group)
    if export is None:
        raise Refusal(404, issue("not-found", f"There is no Group/{group}"))
    return export


def job_files(source: Source, group: str | None, types: Container[str] | None) -> dict[str, JobFile]:
    """Return the files of a group, or of all groups, that hold resources of these types, or of any.

    They are numbered within their type, `1.Patient.ndjson`, as clients name them.
    """
    exports = wire_exports(source) if group is None else [find_group(source, group)]
    numbers: Counter[str] = Counter()
    files: dict[str, JobFile] = {}
    for download in _downloads(source, exports):
        kind = _type_of(download)
        if download.rows == 0 or (types is not None and kind not in types):
            continue
        if len(files) == MOST_FILES:
            told = f"The export has more than {MOST_FILES:,} files; ask for fewer types, or have larger files made"
            raise Refusal(422, issue("too-costly", told))
        numbers[kind] += 1
        name = f"{numbers[kind]}.{kind}.ndjson"
        files[name] = JobFile(name, kind, replace(download, patients=None))  # which may be many, and a job is kept
    return files


def _downloads(source: Source, exports: list[str]) -> Iterator[Download]:
    for export in exports:
        yield from source.downloads(export)


def _type_of(download: Download) -> str:
    """Return the type of a file's resources. Raises Refusal if it is not known."""
    if download.format != "ndjson" or download.event_types is None or len(download.event_types) != 1:
        what = "are not FHIR" if download.format != "ndjson" else "are not declared to be of one type"
        told = f"The records of {download.id!r} in {download.export!r} {what}, so they cannot be exported as FHIR"
        raise Refusal(501, issue("not-supported", told))
    return download.event_types[0]
