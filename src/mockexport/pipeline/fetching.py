"""Keep the files of an export in a folder, which is then a source of its own (`FolderSource`)."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from mockexport.encoding import json_bytes
from mockexport.errors import NotFoundError, UntrustedDataError, UsageError
from mockexport.files import locked, make_folder, remove_leftovers, write_atomically
from mockexport.identity import is_strong
from mockexport.manifest import MANIFEST, Manifest, ManifestEntry, load_manifest, manifest_document
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.partial_file import PartialFile
from mockexport.pipeline.reading import read_download
from mockexport.pipeline.running import list_downloads, run_tasks
from mockexport.source import ReadsFolder
from mockexport.tally import CSV, FHIR, MAX_PAIRS, CountSpec, Malformed, choose_tally
from mockexport.wire import is_plain_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mockexport.model import Counts, Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.source import Source
    from mockexport.tally import Accumulator, CsvFormat, FhirFormat, ResourceSpec, TallySpec

__all__ = ["Fetched", "Kept", "fetch", "kept_in"]

READ_BYTES = 1 << 20
LOCK = ".fetch.lock"  # one fetch at a time writes to a folder


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
    max_pairs: int = MAX_PAIRS,
    kernel: str = "auto",
    csv: CsvFormat = CSV,
    fhir: FhirFormat = FHIR,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    on_listing: OnListing | None = None,
) -> list[Fetched]:
    """Keep an export's downloads as `<root>/<export>/<download>.csv` (or `.ndjson`), with a manifest beside them.

    A file gets its name only once it is whole: its rows are counted on the way, and must be as many as declared. What
    an earlier run finished is checked against its SHA-256 and kept, and what it had begun is resumed, where the source
    names the very bytes by a strong ETag that is still the same; all else is fetched again. Until all of it is there,
    the manifest says that it is not complete. Malformed rows are kept as they are. `max_pairs`, `kernel`, `csv`,
    `fhir`, `start_workers`, `on_progress` and `on_listing` are those of `count`.

    Raises what `count` raises, UntrustedDataError too for ids that can't be file names, and UsageError when the folder
    can't be written, is being fetched into by another run, or holds another export's manifest.
    """
    choose_tally(kernel)  # an unknown one is an error before any work
    spec = CountSpec(kernel, skip_malformed=True, max_pairs=max_pairs, csv=csv, fhir=fhir)
    downloads = list_downloads(source, export, on_listing)
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to fetch")
    for name in (export, *(download.id for download in downloads)):
        if not is_plain_id(name):
            raise UntrustedDataError(f"the id {name!r} cannot be a file name, so nothing was fetched")
    folder = root / export
    if isinstance(source, ReadsFolder) and folder.exists() and _holds_files_of(folder, source.folder_of(export)):
        raise UsageError(f"{folder} is the folder that would be fetched; fetch into another folder")
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    with locked(folder / LOCK, f"another run is fetching into {folder}; wait for it, or fetch into another folder"):
        return _fetch_into(folder, source, export, downloads, spec, start_workers, on_progress)


def _holds_files_of(folder: Path, read: Path) -> bool:
    """Tell whether a folder is the one that an export is read from, or holds files that links in that one lead to."""
    return folder.samefile(read) or any(
        path.is_symlink() and path.is_file() and folder.samefile(path.resolve().parent) for path in read.iterdir()
    )


def _fetch_into(
    folder: Path,
    source: Source,
    export: str,
    downloads: Sequence[Download],
    spec: CountSpec,
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> list[Fetched]:
    """Fetch into a folder that no other run fetches into."""
    name = source.name.encode(errors="backslashreplace").decode()  # a folder's name need not be UTF-8, but JSON is
    entries = _entries(folder, export, downloads, name)
    remove_leftovers(folder, {MANIFEST, *(f".{entry.file}.part.json" for entry in entries)})
    _write_manifest(folder, export, name, entries)
    tasks = [
        FetchTask(number, _small(entry), folder, name, spec.of(entry.download)) for number, entry in enumerate(entries)
    ]
    fetched: dict[int, Fetched] = {}
    with closing(run_tasks(source, fetch_task, tasks, downloads, start_workers, on_progress)) as results:
        for task, result in results:
            fetched[task.number] = result
            entries[task.number] = replace(entries[task.number], sha256=result.sha256)
            _write_manifest(folder, export, name, entries)
    return [fetched[number] for number in range(len(downloads))]


class Kept(NamedTuple):
    """What the next fetch into a folder need not fetch: whole files, of how many, and bytes of the others."""

    files: int
    total: int
    bytes: int


def kept_in(folder: Path, export: str) -> Kept | None:
    """Return what a fetch that has ended early keeps; None if it had not begun."""
    manifest = load_manifest(folder / MANIFEST, export)
    if manifest is None:
        return None
    files = size = 0
    for entry in manifest.entries:
        path = folder / entry.file
        if entry.sha256 and is_strong(entry.download.etag) and path.is_file():
            files += 1
        elif manifest.source is not None:
            size += PartialFile(path, entry.download, manifest.source).kept()
    return Kept(files, len(manifest.entries), size)


def _entries(folder: Path, export: str, downloads: Sequence[Download], source: str) -> list[ManifestEntry]:
    """Return the entries, with the SHA-256 of each file that the folder's manifest has and that is still the same."""
    entries = [ManifestEntry(download, f"{download.id}.{download.format}", None) for download in downloads]
    before = load_manifest(folder / MANIFEST, export)
    if before is None:
        return entries
    if [(entry.download.id, entry.download.rows) for entry in before.entries] != [(d.id, d.rows) for d in downloads]:
        raise UsageError(f"{folder} holds another export of this name; fetch into another folder, or remove it")
    return [
        replace(entry, sha256=known.sha256 if _is_same(source, entry, before.source, known) else None)
        for entry, known in zip(entries, before.entries, strict=True)
    ]


def _is_same(source: str, entry: ManifestEntry, known_source: str | None, known: ManifestEntry) -> bool:
    """Tell whether a file that was fetched has the bytes that its download has now (identity.py).

    ETags of two sources are not comparable (RFC 9110, section 8.8.1).
    """
    etag = entry.download.etag
    return is_strong(etag) and (source, etag, entry.file) == (known_source, known.download.etag, known.file)


def _write_manifest(folder: Path, export: str, source: str, entries: Sequence[ManifestEntry]) -> None:
    complete = all(entry.sha256 for entry in entries)
    manifest = Manifest(export, entries, source, complete)
    write_atomically(folder / MANIFEST, json_bytes(manifest_document(manifest)), follow_link=False)


def _small(entry: ManifestEntry) -> ManifestEntry:
    """Leave out of a download what only the manifest shows; it may be much."""
    return replace(entry, download=replace(entry.download, patients=None, event_types=None))


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Which download to fetch, into which folder, and with what its rows are counted.

    `source` is what the user called the source of the bytes.
    """

    number: int
    entry: ManifestEntry
    folder: Path
    source: str
    spec: TallySpec | ResourceSpec


def fetch_task(source: Source, task: FetchTask, progress: TaskProgress) -> Fetched:
    """Fetch one download, in a worker, unless it is there already."""
    entry = task.entry
    path = task.folder / entry.file
    part = PartialFile(path, entry.download, task.source)
    try:
        kept = _finished(path, entry, task.spec.new(), progress)
        if kept:
            part.forget()
            return kept
        with part:
            _, rows = read_download(source, entry.download, task.spec, progress, part)
            size, sha256 = part.finish()
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename or path}: {error.strerror}; free some space, or fetch into another folder"
        ) from error
    return Fetched(entry.download.id, entry.file, rows, size, sha256)


def _finished(path: Path, entry: ManifestEntry, counter: Accumulator[Counts], progress: TaskProgress) -> Fetched | None:
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
                progress.advance(counter.rows, len(chunk))
        counter.finish()
    except Malformed:
        return None
    if digest.hexdigest() != entry.sha256:
        return None
    progress.finish(counter.rows)
    return Fetched(entry.download.id, entry.file, counter.rows, size, entry.sha256)
