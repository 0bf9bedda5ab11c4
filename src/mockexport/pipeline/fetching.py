"""Keep the files of an export in a folder, which is then a source of its own (`FolderSource`)."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mockexport.errors import MockExportError, NotFoundError, UntrustedDataError, UsageError
from mockexport.files import locked, make_folder, remove_leftovers
from mockexport.identity import is_strong
from mockexport.manifest import MANIFEST, OWN_MANIFEST, load_manifest, own_manifest
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.export_log import ExportLog
from mockexport.pipeline.fetch_folder import FetchFolder, check_kind, kept_entries, new_entry
from mockexport.pipeline.object_part import ObjectPart
from mockexport.pipeline.partial_file import PartialFile
from mockexport.pipeline.reading import read_download
from mockexport.pipeline.running import list_downloads, run_tasks
from mockexport.place import RemotePlace, open_file
from mockexport.source import HasManifest, MakesExports, ReadsFolder
from mockexport.tally import CSV, FHIR, MAX_PAIRS, CountSpec, Malformed, choose_tally
from mockexport.wire import is_plain_id, is_plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from mockexport.manifest import ManifestEntry
    from mockexport.model import Counts, Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.place import Place
    from mockexport.source import Source
    from mockexport.tally import Accumulator, CsvFormat, FhirFormat, ResourceSpec, TallySpec

__all__ = ["Fetched", "Kept", "fetch", "kept_in"]

READ_BYTES = 1 << 20
MANIFESTS = 256  # are written at the most, or twice as many: with the files of large exports, they are large
LOCK = ".fetch.lock"  # one fetch at a time writes to a folder


@dataclass(frozen=True, slots=True)
class Fetched:
    """A download that is kept, whole: its rows, malformed ones included, its bytes, and their SHA-256."""

    id: str
    file: str
    rows: int
    bytes: int
    sha256: str


def fetch(
    source: Source,
    export: str,
    root: Place,
    *,
    max_pairs: int = MAX_PAIRS,
    kernel: str = "auto",
    csv: CsvFormat = CSV,
    fhir: FhirFormat = FHIR,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    on_listing: OnListing | None = None,
    restart: bool = False,
) -> list[Fetched]:
    """Keep an export's downloads as `<root>/<export>/<download>.csv` (or `.ndjson`), with a manifest beside them.

    A file gets its name only once it is whole: its rows are counted on the way, and must be as many as declared. What
    an earlier run finished is checked against its SHA-256 and kept, and what it had begun is resumed, where the source
    names the very bytes by a strong ETag that is still the same; all else is fetched again. Until all of it is there,
    the manifest says that it is not complete. Malformed rows are kept as they are. `max_pairs`, `kernel`, `csv`,
    `fhir`, `start_workers`, `on_progress` and `on_listing` are those of `count`.

    Where the source has manifests of its own, `manifest.json` is the export's, unchanged, and ours `.mockexport.json`;
    `log.ndjson` and the folders `error` and `deleted` are as clients of FHIR bulk data leave them. If the source has to
    make its exports, one that is there whole is not made again, unless `restart` says so.

    Raises what `count` raises, UntrustedDataError too for ids that can't be file names, and UsageError when the folder
    can't be written, is being fetched into by another run, or holds another export's manifest. In an object store
    nothing is locked, and a file that was begun is begun again.
    """
    choose_tally(kernel)  # an unknown one is an error before any work
    spec = CountSpec(kernel, skip_malformed=True, max_pairs=max_pairs, csv=csv, fhir=fhir)
    folder = root / export
    with ExitStack() as stack:
        if isinstance(source, MakesExports):  # two runs would have it made twice
            _check_plain([export], is_plain_path)
            stack.callback(_remove_if_empty, folder, root)
            stack.enter_context(_taken(folder))
            check_kind(folder, of_server=isinstance(source, HasManifest))
            whole = None if restart else _whole(folder, source, export, spec, start_workers, on_progress)
            if whole:
                source.finish(export)  # a run that was killed may have left it on the server
                return whole
        downloads = list_downloads(source, export, on_listing)
        if not downloads:
            raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to fetch")
        _check_plain([export], is_plain_path)
        _check_plain((download.id for download in downloads), is_plain_id)
        if _would_read_itself(folder, source, export):
            raise UsageError(f"{folder} is the folder that would be fetched; fetch into another folder")
        if not isinstance(source, MakesExports):
            stack.enter_context(_taken(folder))
        return _fetch_into(folder, source, export, downloads, spec, start_workers, on_progress)


def _check_plain(names: Iterable[str], is_plain: Callable[[str], bool]) -> None:
    for name in names:
        if not is_plain(name):
            raise UntrustedDataError(f"the id {name!r} cannot be a file name, so nothing was fetched")


def _taken(folder: Place) -> AbstractContextManager[None]:
    """Make a folder, and hold it for one run; a store has neither folders nor locks."""
    if not isinstance(folder, Path):
        return nullcontext()
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from error
    return locked(folder / LOCK, f"another run is fetching into {folder}; wait for it, or fetch into another folder")


def _remove_if_empty(folder: Place, root: Place) -> None:
    """Remove the folders of an export that the source did not begin to make; a store has none."""
    with suppress(OSError):
        while isinstance(folder, Path) and folder != root:
            folder.rmdir()
            folder = folder.parent


def _whole(
    folder: Place,
    source: Source,
    export: str,
    spec: CountSpec,
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> list[Fetched] | None:
    """Return the files of an export that was fetched whole and is still what it was then; None if it is not."""
    manifest = load_manifest(own_manifest(folder), export)
    if manifest is None or not manifest.complete or manifest.source != _name(source):
        return None
    entries = manifest.entries
    if isinstance(source, MakesExports) and entries and not source.is_current(entries[0].download):
        return None  # another one was begun since
    tasks = [FetchTask(n, _small(e), folder, "", spec.of(e.download)) for n, e in enumerate(entries)]
    found: dict[int, Fetched] = {}
    downloads = [entry.download for entry in entries]
    with closing(run_tasks(source, check_task, tasks, downloads, start_workers, on_progress)) as results:
        for task, result in results:
            if result is None:
                return None
            found[task.number] = result
    return [found[number] for number in range(len(entries))]


def _would_read_itself(folder: Place, source: Source, export: str) -> bool:
    """Tell whether a folder is the one that an export is read from."""
    if not isinstance(folder, Path):
        return str(folder) in (source.name, f"{source.name}/{export}")
    return isinstance(source, ReadsFolder) and folder.exists() and _holds_files_of(folder, source.folder_of(export))


def _holds_files_of(folder: Path, read: Path) -> bool:
    """Tell whether a folder is the one that an export is read from, or holds files that links in that one lead to."""
    return folder.samefile(read) or any(
        path.is_symlink() and path.is_file() and folder.samefile(path.resolve().parent) for path in read.iterdir()
    )


def _fetch_into(
    folder: Place,
    source: Source,
    export: str,
    downloads: Sequence[Download],
    spec: CountSpec,
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> list[Fetched]:
    """Fetch into a folder that no other run fetches into."""
    name = _name(source)
    exported = source.bulk_export(export) if isinstance(source, HasManifest) else None
    entries = kept_entries(folder, export, downloads, name, exported)
    others = [new_entry(download) for download in exported.others] if exported else []
    _check_plain((entry.download.id for entry in others), is_plain_path)
    log = ExportLog(folder, exported.status_url) if exported else None
    manifest = FetchFolder(folder, export, name, [entry.file for entry in others], exported, log)
    all_of_them = [*entries, *others]
    if isinstance(folder, Path):
        remove_leftovers(folder, {MANIFEST, OWN_MANIFEST, *(f".{entry.file}.part.json" for entry in entries)})
    manifest.begin(entries)
    tasks = [
        FetchTask(
            number, _small(entry), folder, name, spec.of(entry.download), log and log.of_file(), manifest.url(entry)
        )
        for number, entry in enumerate(all_of_them)
    ]
    parts = [entry.download for entry in all_of_them]
    fetched: dict[int, Fetched] = {}
    every = max(1, len(entries) // MANIFESTS)
    with manifest.kept(entries), closing(
        run_tasks(source, fetch_task, tasks, parts, start_workers, on_progress)
    ) as results:  # fmt: skip
        for task, (result, lines) in results:
            if log:
                log.take(lines)
            if isinstance(result, MockExportError):
                raise result
            fetched[task.number] = result
            if task.number < len(entries):
                entries[task.number] = replace(entries[task.number], sha256=result.sha256)
                if len(fetched) % every == 0:
                    manifest.write(entries, complete=exported is None)
    if every > 1:
        manifest.write(entries, complete=exported is None)
    if isinstance(source, HasManifest):
        rows, sizes = [file.rows for file in fetched.values()], [file.bytes for file in fetched.values()]
        manifest.end(entries, source.bulk_export(export), rows, sizes)
    return [fetched[number] for number in range(len(downloads))]


def _name(source: Source) -> str:
    return source.name.encode(errors="backslashreplace").decode()  # a folder's name need not be UTF-8, but JSON is


class Kept(NamedTuple):
    """What the next fetch into a folder need not fetch: whole files, of how many, and bytes of the others."""

    files: int
    total: int
    bytes: int


def kept_in(folder: Path, export: str) -> Kept | None:
    """Return what a fetch that has ended early keeps; None if it had not begun."""
    manifest = load_manifest(own_manifest(folder), export)
    if manifest is None:
        return None
    of_server = (
        own_manifest(folder).name == OWN_MANIFEST
    )  # its files are read from their start: no ETag names the bytes
    files = size = 0
    for entry in manifest.entries:
        path = folder / entry.file
        if entry.sha256 and is_strong(entry.download.etag) and path.is_file():
            files += 1
        elif manifest.source is not None and not of_server:
            size += PartialFile(path, entry.download, manifest.source).kept()
    return Kept(files, len(manifest.entries), size)


def _small(entry: ManifestEntry) -> ManifestEntry:
    """Leave out of a download what only the manifest shows; it may be much."""
    return replace(entry, download=replace(entry.download, patients=None, event_types=None))


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Which download to fetch, into which folder, and with what its rows are counted.

    `source` is what the user called the source of the bytes. `url` is where they come from, for the `log`, if there is
    one.
    """

    number: int
    entry: ManifestEntry
    folder: Place
    source: str
    spec: TallySpec | ResourceSpec
    log: ExportLog | None = None
    url: str = ""

    def tell(self, event: str, **detail: object) -> None:
        """Add an event to the log."""
        if self.log:
            self.log.add(event, {"fileUrl": self.url, **detail})

    @property
    def lines(self) -> Sequence[bytes]:
        """The lines of the log that are still to be written."""
        return self.log.lines if self.log else ()


class Ended(NamedTuple):
    """What came of a task, and the lines of the log that are still to be written."""

    result: Fetched | MockExportError
    lines: Sequence[bytes]


def fetch_task(source: Source, task: FetchTask, progress: TaskProgress) -> Ended:
    """Fetch one download, in a worker, unless it is there already."""
    entry = task.entry
    path = task.folder / entry.file
    part: PartialFile | ObjectPart
    if isinstance(path, RemotePlace):
        part = ObjectPart(path)
    else:
        part = PartialFile(Path(str(path)), entry.download, task.source)
    try:
        kept = _finished(path, entry, task.spec.new(), progress)
        if kept:
            part.forget()
            return Ended(kept, ())
        folder = entry.file.rpartition("/")[0] or "output"
        kind = entry.download.id.rpartition(".")[2]
        task.tell("download_request", itemType=folder, resourceType=kind)
        try:
            with part:
                _, rows = read_download(source, entry.download, task.spec, progress, part)
                size, sha256 = part.finish()
        except MockExportError as error:
            task.tell("download_error", body=None, code=None, message=error.message)
            return Ended(error, task.lines)
        task.tell("download_complete", resourceCount=rows, fileSize=size)
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename or path}: {error.strerror}; free some space, or fetch into another folder"
        ) from error
    return Ended(Fetched(entry.download.id, entry.file, rows, size, sha256), task.lines)


def check_task(_source: Source, task: FetchTask, progress: TaskProgress) -> Fetched | None:
    """Return a file that is there already, in a worker; None if it is not what it was."""
    return _finished(task.folder / task.entry.file, task.entry, task.spec.new(), progress)


def _finished(
    path: Place, entry: ManifestEntry, counter: Accumulator[Counts], progress: TaskProgress
) -> Fetched | None:
    """Return a file that an earlier run finished, if it is still what it was then."""
    if entry.sha256 is None or not path.is_file():
        return None
    digest = hashlib.sha256()
    size = 0
    try:
        with open_file(path, on_retry=progress.retry_after, cancel=progress.cancel) as file:
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
