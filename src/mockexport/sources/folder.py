"""FolderSource: a folder of exports, each a folder of CSV or NDJSON files; and a folder that has such files itself.

    <root>/<export>/<download>.csv      or .tsv, .txt or .ndjson; or one of these with .gz, .bz2, .xz or .zst behind it
    <root>/<export>/manifest.json       declares what the files should hold; it may be missing
    <root>/<export>/.mockexport.json    likewise, with their SHA-256, where that one is the server's
    <root>/group/<export>/              is the export `group/<export>`: a folder without files of its own is no export
    <root>/<download>.csv               then the root is an export too, under its own name

With a manifest, the folder is taken for what the manifest says: a file that it lists and that isn't there, one that is
there and not listed, and one whose SHA-256 differs are all errors. A manifest is ours, or that of a FHIR bulk export.
`declared` tells of the same, and is no error.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockexport.bulk_manifest import BulkManifest
from mockexport.errors import NotFoundError, UntrustedDataError, no_such, url_meant
from mockexport.manifest import MANIFEST, OWN_MANIFEST, ManifestEntry, read_manifest
from mockexport.model import Download
from mockexport.place import Place, file_versions
from mockexport.source import Declared
from mockexport.sources.bulk_files import (
    LOG,
    Differs,
    check_same,
    entries_of,
    issues_in,
    names_in,
    other_files,
    rows_in_log,
)
from mockexport.sources.csv_file import read_csv_file, reading
from mockexport.sources.data_files import Ignored, compression, data_format, data_id, declared, is_data
from mockexport.wire import same_id

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from mockexport.source import Chunks

__all__ = ["FolderSource"]

log = logging.getLogger(__name__)
Key = tuple[str, int | None, str | None]


@dataclass(frozen=True, slots=True)
class _Folder:
    """The folder of an export as it was listed: the version of its manifest, and its files by download."""

    export: str
    path: Place
    manifest: object
    entries: dict[str, ManifestEntry]


class FolderSource:
    """The exports in a folder, but for the files that `ignore` matches. Raises NotFoundError for no such folder.

    Unless `checked`, the files of an export may be other ones than its manifest lists; those are read that are there.
    """

    @reading()
    def __init__(self, root: Place | str, *, ignore: Sequence[str] = (), checked: bool = True) -> None:
        self._root: Place = Path(root) if isinstance(root, str) else root
        self._checked = checked
        self._ignored = Ignored(tuple(ignore))
        self._kept: _Folder | None = None  # the one that was listed last
        self._listed: dict[str, dict[Key, tuple[Place, str | None]]] = {}  # of each export: its files and SHA-256
        self._told: set[object] = set()  # what a warning was about
        self._differs = None if checked else Differs()  # how the files of the one that was listed last differ
        self._deleted: dict[str, Place] = {}  # files of deleted resources, by id
        if not self._root.is_dir():
            meant = url_meant(str(root))
            hint = f"did you mean {meant}?" if meant else "a source is mock, a folder, a file or an http(s) URL"
            raise NotFoundError(f"no file or folder {str(root)!r}; {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the absolute path: another process may have another working directory."""
        return _unpickled, (self._root.absolute(), self._ignored.patterns, self._checked)

    @property
    def name(self) -> str:
        """The folder, as the user wrote it."""
        return str(self._root)

    @reading()
    def folder_of(self, export: str) -> Place:
        """Return the folder of an export: one in this folder, or this one itself. Raises NotFoundError."""
        outer, _, inner = export.partition("/")
        for folder in self._root.iterdir():
            if inner and folder.name == outer and folder.name not in self._ignored.runs_in(self._root):
                for path in self._grouped(folder):
                    if path.name == inner:
                        return path
            if folder.name == export and self._is_export(folder):
                if export in self._ignored.runs_in(self._root):
                    raise NotFoundError(
                        f"{export!r} is a part of export {self._own_name!r}, whose files are links into it; "
                        f"to count it alone, take {folder} as the source"
                    )
                return folder
        if export == self._own_name and self._is_export(self._root):
            return self._root
        raise no_such("export", export, self.name, self.exports())

    @reading()
    def exports(self) -> list[str]:
        """Return the names of the folders that hold files of records or a manifest; warn of one that cannot be read."""
        runs = self._ignored.runs_in(self._root)
        found = {name for folder in self._root.iterdir() if folder.name not in runs for name in self._named(folder)}
        return sorted(found | ({self._own_name} if self._is_export(self._root) else set()))

    @reading()
    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads: in the manifest's order, or else by name."""
        folder = self.folder_of(export)
        entries = self._list(folder, export, check=True).values()
        versions = file_versions(folder / entry.file for entry in entries)
        downloads: list[Download] = []
        listed: dict[Key, tuple[Place, str | None]] = {}
        for entry in entries:
            file = folder / entry.file
            known = declared(file, versions[file], can_be_split=not entry.sha256, otherwise=entry.download.format)
            if entry.download.rows is not None:  # what a manifest declares is what is compared
                known.pop("rows", None)
            downloads.append(replace(entry.download, **known))
            listed[_key(downloads[-1])] = (file, entry.sha256)
        self._listed[export] = listed
        return downloads

    @reading()
    def declared(self, export: str) -> Declared:
        """Return what the manifest of an export declares, and how its files differ."""
        if self._checked:
            return FolderSource(self._root, ignore=self._ignored.patterns, checked=False).declared(export)
        folder = self.folder_of(export)
        downloads = self.downloads(export)
        known = self._kept.entries.values() if self._kept else ()
        manifest = read_manifest(folder / MANIFEST, export)
        of_server = manifest if isinstance(manifest, BulkManifest) else None
        deleted, errors = (other_files(of_server, folder, kind) for kind in ("deleted", "error"))
        self._deleted, differs = deleted.there, self._differs or Differs()
        return Declared(
            self,
            downloads,
            missing=[*differs.missing, *deleted.missing, *errors.missing],
            undeclared=differs.undeclared,
            sha256={e.download.id: e.sha256 for e in known if e.sha256 and not compression(e.file)},
            deleted=[Download(export, name, format="ndjson") for name in deleted.there],
            issues=issues_in(errors.there.values()),
            types=of_server.types if of_server else None,
            since=of_server.since if of_server else None,
            transaction_time=of_server.transaction_time if of_server else None,
        )

    @reading()
    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        """Stream a file, unpacked, from byte `offset` of the CSV on; read to its end, its SHA-256 is checked.

        Raises ChangedError when the file is not the one that was listed, or changes while it is read.
        """
        if download.id in self._deleted:
            return read_csv_file(self._deleted[download.id], offset, **watch)
        file, sha256 = self._listed.get(download.export, {}).get(_key(download)) or (None, None)
        if file is None or not file.exists():  # what is there is compared with the ETag as it is opened
            file, sha256 = self._find(download)
        if not self._checked and not compression(file.name):  # whoever asked for it compares
            sha256 = None
        return read_csv_file(file, offset, download.etag, sha256, **watch)

    def close(self) -> None:
        """Do nothing: nothing is open between calls."""

    def _find(self, download: Download) -> tuple[Place, str | None]:
        """Return a download's file, and the SHA-256 that it should have, if one is declared.

        A folder of thousands is listed once for all of them, unless one is not where it was.
        """
        kept = self._kept
        if kept and kept.export == download.export and kept.manifest == _manifest_version(kept.path):
            entry = kept.entries.get(download.id)
            if entry and (kept.path / entry.file).exists():
                return kept.path / entry.file, entry.sha256
        folder = self.folder_of(download.export)
        entries = self._list(folder, download.export)
        entry = entries.get(download.id)
        if entry is None:
            raise no_such("download", download.id, str(folder), list(entries))
        return folder / entry.file, entry.sha256

    @property
    def _own_name(self) -> str:
        return self._root.absolute().name

    def _is_export(self, folder: Place) -> bool:
        if not folder.is_dir() or (folder is not self._root and self._ignored(folder)):
            return False
        return any(
            file.name in (MANIFEST, OWN_MANIFEST) or (is_data(file.name) and not self._ignored(file))
            for file in folder.iterdir()
        )

    def _grouped(self, folder: Place) -> list[Place]:
        """Return the exports in a folder that has no files of its own, such as `group` of those of a FHIR server."""
        if not folder.is_dir() or self._ignored(folder) or self._is_export(folder):
            return []
        inside = [path for path in folder.iterdir() if not self._ignored(path)]
        return [path for path in inside if self._is_export(path)] if all(path.is_dir() for path in inside) else []

    def _named(self, folder: Place) -> list[str]:
        """Return the names of the exports in a folder: its own, or those below; tell once of one that can't be read."""
        try:
            if self._is_export(folder):
                return [folder.name]
            return [f"{folder.name}/{path.name}" for path in self._grouped(folder)]
        except OSError as error:
            if folder not in self._told:
                self._told.add(folder)
                log.warning("passed over %s: %s", folder, error.strerror)
            return []

    def _list(self, folder: Place, export: str, *, check: bool = False) -> dict[str, ManifestEntry]:
        """Return the files of an export, and what is declared of them, by the download that they hold.

        `check` compares them with a manifest of ours, and tells of what else there is to know.
        """
        path, version = folder / MANIFEST, _manifest_version(folder)
        hidden = folder / OWN_MANIFEST
        ours = read_manifest(hidden, export) if hidden.exists() else None
        manifest = read_manifest(path, export)
        if manifest is None:
            manifest = ours
        self._differs = None if self._checked else Differs()
        notes: list[str | None] = []
        if isinstance(manifest, BulkManifest):
            entries = self._of_server(folder, manifest, None if isinstance(ours, BulkManifest) else ours, export)
            if manifest.errors and self._checked:
                files = "1 file" if len(manifest.errors) == 1 else f"{len(manifest.errors):,} files"
                notes.append(f"{path} lists {files} of errors: the server left something out")
        elif manifest is not None:
            entries = self._there(folder, manifest) if check or not self._checked else manifest
        else:
            found = self._files(folder)
            entries = [ManifestEntry(Download(export, data_id(file.name)), file.name, None) for file in found]
            if any(data_format(file.name) == "ndjson" for file in found):
                rows, note = rows_in_log(folder / LOG, [file.name for file in found])
                entries = [replace(e, download=replace(e.download, rows=rows.get(e.file))) for e in entries]
                notes.append(note)
        for note in filter(None, notes if check else ()):
            if note not in self._told:
                self._told.add(note)
                log.warning("%s", note)
        by_id = {entry.download.id: entry for entry in entries}
        self._kept = _Folder(export, folder, version, by_id)
        return by_id

    def _of_server(
        self, folder: Place, manifest: BulkManifest, ours: list[ManifestEntry] | None, export: str
    ) -> list[ManifestEntry]:
        """Return what a server's manifest declares; if ours is there too, it names the files and has their SHA-256."""
        path = folder / MANIFEST
        if ours is None:
            files = [file.name for file in self._files(folder, names_in(manifest))]
            return entries_of(manifest, path, export, files, self._differs)
        check_same(manifest, path, ours)
        return self._there(folder, ours)

    def _there(self, folder: Place, entries: list[ManifestEntry]) -> list[ManifestEntry]:
        """Return the entries whose files are there. Raises UntrustedDataError if a checked folder has other files."""
        named = {entry.file for entry in entries}
        differs = Differs(
            [entry.file for entry in entries if (folder / entry.file).is_dir() or not (folder / entry.file).exists()],
            [file.name for file in self._files(folder) if file.name not in named],
        )
        if self._differs is None:
            differs.check(folder)
            return entries
        self._differs = differs
        return [entry for entry in entries if entry.file not in differs.missing]

    def _files(self, folder: Place, named: Container[str] = ()) -> list[Place]:
        """Return the files of an export. Raises UntrustedDataError where two hold the same download."""
        known: dict[str, Place] = {}
        files = self._ignored.data_in(folder, named)
        for file in files:
            other = known.setdefault(same_id(data_id(file.name)), file)
            if other is not file:
                raise UntrustedDataError(f"{file} and {other.name} hold the same download; move one away")
        return files


def _unpickled(root: Place, ignore: Sequence[str], checked: bool) -> FolderSource:
    return FolderSource(root, ignore=ignore, checked=checked)


def _manifest_version(folder: Place) -> object:
    """Return the versions of a folder's manifests, None for none; one that is being written is like no other."""
    versions: list[object] = []
    for path in (folder / MANIFEST, folder / OWN_MANIFEST):
        try:
            versions.append(file_versions([path])[path] or object())
        except FileNotFoundError:
            versions.append(None)
    return versions


def _key(download: Download) -> Key:
    """Return what tells a listed download from another version of it."""
    return download.id, download.rows, download.etag
