"""What an export says was deleted, against the resources that are in it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mockexport.errors import (
    MissingError,
    MockExportError,
    NotFoundError,
    NotResumableError,
    UntrustedDataError,
    UsageError,
)
from mockexport.pipeline.reading import RESTARTS, describe
from mockexport.reconciliation import FIRST_PLACES, KEY_BYTES, RECORD_BYTES, Findings, deleted_in
from mockexport.sorting import sorted_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mockexport.model import Download
    from mockexport.reconciliation import RecordKey
    from mockexport.sorting import Runs
    from mockexport.source import Declared, Source

__all__ = ["Deleted", "find_deleted", "read_deleted"]

log = logging.getLogger(__name__)
ROW_LIMIT = 64 << 20
DOWNLOAD_BYTES = 3  # of a place; the rest is the line


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted, as `Type/id` by its key, and the findings about the files that say so."""

    names: dict[bytes, str] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)


def read_deleted(declared: Declared, hash_key: RecordKey, key: bytes) -> Deleted:
    """Read the files of deleted resources; one that can't be read is a finding. UsageError is raised."""
    deleted = Deleted()
    for download in declared.deleted:
        try:
            deleted.names.update((hash_key(key, name.encode()), name) for name in names_in(declared.source, download))
        except UsageError:
            raise
        except MockExportError as error:
            is_missing = isinstance(error, MissingError | NotFoundError)
            code = "download-missing" if is_missing else "download-broken"
            deleted.findings.add(code, "error", [{"download": download.id, "reason": error.message}])
    return deleted


def names_in(source: Source, download: Download) -> list[str]:
    """Return what a file says was deleted. It is read again from its start where its source cannot resume it."""
    restarts = 0
    while True:
        try:
            return [name for row in rows_of(source, download) for name in deleted_in(row)]
        except NotResumableError as problem:
            restarts += 1
            if restarts > RESTARTS:
                raise
            log.info("%s; reading it again from its start", problem)


def rows_of(source: Source, download: Download) -> Iterator[bytes]:
    """Yield the rows of NDJSON. Raises UntrustedDataError for one that is too long."""
    rest = b""
    with contextlib.closing(source.open(download)) as chunks:
        for chunk in chunks:
            *rows, rest = (rest + chunk).split(b"\n")
            yield from rows
            if len(rest) > ROW_LIMIT:
                raise UntrustedDataError(f"{describe(download)} has a row of more than {ROW_LIMIT:,} bytes")
    yield rest


def find_deleted(downloads: Sequence[Download], deleted: Deleted, ids: Runs, *, memory: int, kernel: str) -> Findings:
    """Return which resources are there that were deleted; `ids` are the records of those that are there."""
    found: list[tuple[int, int, str]] = []
    count = 0
    for block in sorted_blocks(ids, memory=memory, kernel=kernel) if deleted.names else ():
        for at in range(0, len(block), RECORD_BYTES):
            name = deleted.names.get(block[at : at + KEY_BYTES])
            if name is not None:
                count += 1
                number, line = place_in(block[at + KEY_BYTES : at + RECORD_BYTES])
                found = sorted([*found, (number, line, name)])[:FIRST_PLACES]
    findings = Findings()
    places = [{"download": downloads[number].id, "line": line, "id": name} for number, line, name in found]
    findings.add("deleted-present", "error", places, count)
    return findings


def place_in(place: bytes) -> tuple[int, int]:
    """Return the download's number and the line of a record."""
    return int.from_bytes(place[:DOWNLOAD_BYTES], "big"), int.from_bytes(place[DOWNLOAD_BYTES:], "big")
