"""What lies beside the files of a fetch: our manifest, and of a FHIR bulk export that of the server, and the log."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.encoding import json_bytes
from mockexport.errors import MockExportError, UsageError
from mockexport.files import make_folder
from mockexport.identity import is_strong
from mockexport.manifest import (
    MANIFEST,
    OWN_MANIFEST,
    Manifest,
    ManifestEntry,
    load_manifest,
    manifest_document,
    own_manifest,
)
from mockexport.place import Place, remove_file, write_whole

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from mockexport.model import Download
    from mockexport.pipeline.export_log import ExportLog
    from mockexport.source import BulkExport

__all__ = ["FetchFolder", "check_kind", "kept_entries", "new_entry"]


def new_entry(download: Download) -> ManifestEntry:
    """Return the entry of a file that is not there yet."""
    return ManifestEntry(download, f"{download.id}.{download.format}", None)


def kept_entries(
    folder: Place, export: str, downloads: Sequence[Download], source: str, exported: BulkExport | None
) -> list[ManifestEntry]:
    """Return the entries, with the SHA-256 of each file that the folder's manifest has and that is still the same.

    An export that was made anew takes the place of the one before, whose files are removed.
    """
    entries = [new_entry(download) for download in downloads]
    check_kind(folder, of_server=exported is not None)
    before = load_manifest(own_manifest(folder), export)
    if before is None:
        return entries
    names = {entry.file for entry in entries}
    stale = {*(entry.file for entry in before.entries if entry.file not in names), *before.others}
    is_same = [(e.download.id, e.download.rows) for e in before.entries] == [(d.id, d.rows) for d in downloads]
    if (exported and before.source != source) or not (exported or is_same):
        raise _holds_another(folder)
    for file in stale if exported else ():
        remove_file(folder / file)
    if not is_same:
        return entries
    return [
        replace(entry, sha256=known.sha256 if _is_same(source, entry, before.source, known) else None)
        for entry, known in zip(entries, before.entries, strict=True)
    ]


def check_kind(folder: Place, *, of_server: bool) -> None:
    """Raise UsageError if our manifest is not where it belongs: beside a server's, or in its place."""
    hidden, plain = (folder / OWN_MANIFEST).exists(), (folder / MANIFEST).exists()
    if (plain and not hidden) if of_server else hidden:
        raise _holds_another(folder)


def _holds_another(folder: Place) -> UsageError:
    return UsageError(f"{folder} holds another export of this name; fetch into another folder, or remove it")


def _is_same(source: str, entry: ManifestEntry, known_source: str | None, known: ManifestEntry) -> bool:
    """Tell whether a file that was fetched has the bytes that its download has now (identity.py).

    ETags of two sources are not comparable (RFC 9110, section 8.8.1).
    """
    etag = entry.download.etag
    return is_strong(etag) and (source, etag, entry.file) == (known_source, known.download.etag, known.file)


@dataclass(frozen=True, slots=True)
class FetchFolder:
    """Writes what lies beside the files; `others` are those that are not counted.

    Our manifest says that the export is complete once all else is there. In a store, that of the server comes at the
    end, too: programs are started by an object that appears.
    """

    folder: Place
    export: str
    source: str
    others: Sequence[str]
    exported: BulkExport | None
    log: ExportLog | None

    def url(self, entry: ManifestEntry) -> str:
        """Return where a file of a bulk export comes from."""
        return self.exported.urls.get(entry.download.id, "") if self.exported else ""

    def begin(self, entries: Sequence[ManifestEntry]) -> None:
        """Write what is known before the files."""
        self.write(entries, complete=self.exported is None)
        if not self.exported or not self.log:
            return
        is_local = isinstance(self.folder, Path)
        if is_local:
            self._write_server_manifest(self.exported)
        elif (self.folder / MANIFEST).is_file():  # who may write need not be allowed to remove
            remove_file(self.folder / MANIFEST)
        try:
            self.log.begin(self.exported)
            for folder in {(self.folder / file).parent for file in self.others} if is_local else ():
                make_folder(Path(str(folder)))
        except OSError as error:
            raise UsageError(f"cannot write {error.filename or self.folder}: {error.strerror}") from error
        self.log.save()

    def write(self, entries: Sequence[ManifestEntry], *, complete: bool) -> None:
        """Write our manifest; it is complete if every file is there, and nothing else is missing."""
        if self.log and self.log.lines:
            self.log.save()
        complete = complete and all(entry.sha256 for entry in entries)
        manifest = Manifest(self.export, entries, self.source, complete, self.others)
        path = self.folder / (OWN_MANIFEST if self.exported else MANIFEST)
        write_whole(path, json_bytes(manifest_document(manifest)), follow_link=False)

    @contextmanager
    def kept(self, entries: Sequence[ManifestEntry]) -> Generator[None, None, None]:
        """If the block fails, write our manifest with the entries as they are then."""
        try:
            yield
        except BaseException:
            with suppress(MockExportError):  # a full disk, say: what ended the fetch is what matters
                self.write(entries, complete=False)
            raise

    def end(
        self, entries: Sequence[ManifestEntry], exported: BulkExport, rows: Sequence[int], sizes: Sequence[int]
    ) -> None:
        """Write what is known once all files are there."""
        was_renewed = self.exported and exported.manifest != self.exported.manifest  # its links
        if was_renewed or not isinstance(self.folder, Path):
            self._write_server_manifest(exported)
        try:
            if self.log:
                self.log.complete(exported, rows, sizes)
        except OSError as error:
            raise UsageError(f"cannot write {error.filename or self.folder}: {error.strerror}") from error
        self.write(entries, complete=True)

    def _write_server_manifest(self, exported: BulkExport) -> None:
        write_whole(self.folder / MANIFEST, exported.manifest, follow_link=False)
