"""Keep an export's CSV files in a folder, which is then a source of its own (`DirectorySource`)."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mockexport.counts import run_tasks, tally_download
from mockexport.errors import NotFoundError, UntrustedDataError, UsageError
from mockexport.kernels import choose_kernels
from mockexport.manifest import MANIFEST, ManifestEntry, manifest_document, read_manifest
from mockexport.output import json_bytes, write_atomically
from mockexport.partial_file import PartialFile
from mockexport.tally import Malformed
from mockexport.wire import is_plain_id
from mockexport.workers import thread_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mockexport.catalog import Download
    from mockexport.counts import OnProgress
    from mockexport.source import Source
    from mockexport.tally import Tally
    from mockexport.workers import Board, StartWorkers

__all__ = ["Fetched", "fetch"]

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A download that lies on disk, whole: its rows, malformed ones included, its bytes, and their SHA-256."""

    id: str
    file: str
    rows: int
    bytes: int
    sha256: str


def fetch(
    source: Source,
    export: str,
    root: Path,
    *,
    tally: Callable[..., Tally] | None = None,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
) -> list[Fetched]:
    """Keep an export's downloads as `<root>/<export>/<download>.csv`, with a manifest beside them.

    A file gets its name only once it is whole: its rows are counted on the way, and must be as many as declared.
    What an earlier run finished is checked against its SHA-256 and kept, what it had begun is gone on with where the
    source has a name for the very bytes (an ETag). Malformed rows are kept as they are.

    Raises what `count` raises, UntrustedDataError too for ids that can't be file names, and UsageError when the folder
    can't be written or holds another export's manifest.
    """
    tally = tally or choose_kernels().tally
    downloads = list(source.downloads(export))
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to fetch")
    for name in (export, *(download.id for download in downloads)):
        if not is_plain_id(name):
            raise UntrustedDataError(f"the id {name!r} can't be a file's name, so nothing was fetched")
    folder = root / export
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    entries = _entries(folder, export, downloads)
    _write_manifest(folder, export, entries)
    tasks = {number: partial(fetch_download, source, entry, folder, tally) for number, entry in enumerate(entries)}
    fetched: dict[int, Fetched] = {}
    with closing(run_tasks(source, downloads, tasks, start_workers, on_progress)) as results:
        for number, result in results:
            fetched[number] = result
            entries[number] = replace(entries[number], sha256=result.sha256)
            _write_manifest(folder, export, entries)
    for pattern in (f".{MANIFEST}.*.tmp", "..*.part.json.*.tmp"):  # of runs that were killed while they wrote one
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)
    return [fetched[number] for number in range(len(downloads))]


def _entries(folder: Path, export: str, downloads: Sequence[Download]) -> list[ManifestEntry]:
    """Go on from the folder's manifest, if it is one of these downloads."""
    entries = [ManifestEntry(download, f"{download.id}.csv", None) for download in downloads]
    before = read_manifest(folder / MANIFEST, export)
    if before is None:
        return entries
    if [(entry.download.id, entry.download.rows) for entry in before] != [(d.id, d.rows) for d in downloads]:
        raise UsageError(f"{folder} holds another export of this name; fetch into another --dir, or remove it")
    return [replace(entry, sha256=known.sha256) for entry, known in zip(entries, before, strict=True)]


def _write_manifest(folder: Path, export: str, entries: Sequence[ManifestEntry]) -> None:
    write_atomically(folder / MANIFEST, json_bytes(manifest_document(export, entries)))


def fetch_download(
    source: Source, entry: ManifestEntry, folder: Path, tally: Callable[..., Tally], board: Board, number: int
) -> Fetched:
    """Fetch one download, unless it is there already; the task of one worker."""
    path = folder / entry.file
    part = PartialFile(path, entry.download)
    try:
        kept = _finished(path, entry, tally(skip=True), board, number)
        if kept:
            return kept
        with part:
            _, rows = tally_download(source, entry.download, partial(tally, skip=True), board, number, part)
            size, sha256 = part.finish()
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; free some space, or fetch into another --dir"
        ) from error
    return Fetched(entry.download.id, entry.file, rows, size, sha256)


def _finished(path: Path, entry: ManifestEntry, counter: Tally, board: Board, number: int) -> Fetched | None:
    """Return a file that an earlier run finished, if it is still what it was then."""
    if entry.sha256 is None or not path.is_file():
        return None
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
                counter.feed(chunk)
                size += len(chunk)
                board.advance(number, counter.rows, len(chunk))
        counter.finish()
    except Malformed:
        return None
    if digest.hexdigest() != entry.sha256:
        return None
    board.end(number, counter.rows)
    return Fetched(entry.download.id, entry.file, counter.rows, size, entry.sha256)
