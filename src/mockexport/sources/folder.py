"""FolderSource: a folder of exports, each a folder of CSV files; and a folder that has such files itself.

    <root>/<export>/<download>.csv      or .tsv or .txt; or one of these with .gz, .bz2, .xz or .zst behind it
    <root>/<export>/manifest.json       declares what the files should hold; it may be missing
    <root>/<download>.csv               then the root is an export too, under its own name

With a manifest, the folder is taken for what the manifest says: a file that it lists and that isn't there, one that is
there and not listed, and one whose SHA-256 differs are all errors.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.errors import NotFoundError, UntrustedDataError, no_such, url_meant
from mockexport.local_file import file_versions
from mockexport.manifest import MANIFEST, ManifestEntry, read_manifest
from mockexport.model import Download
from mockexport.sources.csv_file import read_csv_file, reading
from mockexport.sources.data_files import Ignored, data_id, declared, is_data
from mockexport.wire import same_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.source import Chunks

__all__ = ["FolderSource"]

log = logging.getLogger(__name__)
Key = tuple[str, int | None, str | None]


class FolderSource:
    """The exports in a folder, but for the files that `ignore` matches. Raises NotFoundError for no such folder."""

    @reading()
    def __init__(self, root: Path | str, *, ignore: Sequence[str] = ()) -> None:
        self._root = Path(root)
        self._ignored = Ignored(tuple(ignore))
        self._files_of: dict[Path, dict[str, Path]] = {}  # by folder and download, as they were listed last
        self._manifest: tuple[object, dict[str, ManifestEntry]] = (None, {})  # the one read last, by its file's version
        self._listed: dict[str, dict[Key, tuple[Path, str | None]]] = {}  # of each export: its files and SHA-256
        self._told: set[Path] = set()  # the folders that can't be read
        if not self._root.is_dir():
            meant = url_meant(str(root))
            hint = f"did you mean {meant}?" if meant else "a source is mock, a folder, a file or an http(s) URL"
            raise NotFoundError(f"no file or folder {str(root)!r}; {hint}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the absolute path: another process may have another working directory."""
        return _unpickled, (self._root.absolute(), self._ignored.patterns)

    @property
    def name(self) -> str:
        """The folder, as the user wrote it."""
        return str(self._root)

    @reading()
    def folder_of(self, export: str) -> Path:
        """Return the folder of an export: one in this folder, or this one itself. Raises NotFoundError."""
        for folder in self._root.iterdir():
            if folder.name == export and self._is_export(folder):
                return folder
        if export == self._own_name and self._is_export(self._root):
            return self._root
        raise no_such("export", export, self.name, self.exports())

    @reading()
    def exports(self) -> list[str]:
        """Return the names of the folders that hold files of records or a manifest; warn of one that cannot be read."""
        folders = {folder.name for folder in self._root.iterdir() if self._is_export_or_tell(folder)}
        return sorted(folders | ({self._own_name} if self._is_export(self._root) else set()))

    @reading()
    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads: in the manifest's order, or else by name."""
        folder = self.folder_of(export)
        files = self._files(folder)
        entries = self._entries(folder, export)
        downloads: list[Download] = []
        listed: dict[Key, tuple[Path, str | None]] = {}
        if entries is None:
            versions = file_versions(files.values())
            for name, file in files.items():
                known = declared(file, versions[file], can_be_split=True)
                downloads.append(Download(export=export, id=name, **known))
                listed[_key(downloads[-1])] = (file, None)
        else:
            _compare(folder, entries.values(), files.values())
            versions = file_versions(folder / entry.file for entry in entries.values())
            for entry in entries.values():
                file = folder / entry.file
                known = declared(file, versions[file], can_be_split=not entry.sha256)
                downloads.append(replace(entry.download, **known))
                listed[_key(downloads[-1])] = (file, entry.sha256)
        self._listed[export] = listed
        return downloads

    @reading()
    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        """Stream a file, unpacked, from byte `offset` of the CSV on; read to its end, its SHA-256 is checked.

        Raises ChangedError when the file is not the one that was listed, or changes while it is read.
        """
        file, sha256 = self._listed.get(download.export, {}).get(_key(download)) or (None, None)
        if file is None or not file.exists():  # what is there is compared with the ETag as it is opened
            file, sha256 = self._find(download)
        return read_csv_file(file, offset, download.etag, sha256)

    def close(self) -> None:
        """Do nothing: nothing is open between calls."""

    def _find(self, download: Download) -> tuple[Path, str | None]:
        """Return a download's file, and the SHA-256 that it should have, if one is declared."""
        folder = self.folder_of(download.export)
        entries = self._entries(folder, download.export)
        if entries is None:
            return self._file(folder, download), None
        entry = entries.get(download.id)
        if entry is None:
            raise no_such("download", download.id, str(folder), list(entries))
        return folder / entry.file, entry.sha256

    @property
    def _own_name(self) -> str:
        return self._root.absolute().name

    def _is_export(self, folder: Path) -> bool:
        if not folder.is_dir() or (folder is not self._root and self._ignored(folder)):
            return False
        return any(
            file.name == MANIFEST or (is_data(file.name) and not self._ignored(file)) for file in folder.iterdir()
        )

    def _is_export_or_tell(self, folder: Path) -> bool:
        """Tell whether a folder is an export; say so, once, of one that can't be looked into."""
        try:
            return self._is_export(folder)
        except OSError as error:
            if folder not in self._told:
                self._told.add(folder)
                log.warning("passed over %s: %s", folder, error.strerror)
            return False

    def _entries(self, folder: Path, export: str) -> dict[str, ManifestEntry] | None:
        """Return what an export's manifest says of each download; a manifest of thousands is not read for each."""
        path = folder / MANIFEST
        try:
            version = file_versions([path])[path]
        except FileNotFoundError:
            return None
        kept, entries = self._manifest
        if version is None or kept != (path, version):
            entries = {entry.download.id: entry for entry in read_manifest(path, export) or ()}
            self._manifest = ((path, version), entries)
        return entries

    def _file(self, folder: Path, download: Download) -> Path:
        """Return a download's file; a folder of thousands is listed once, unless the file is not where it was."""
        file = self._files_of.get(folder, {}).get(download.id)
        if file is None or not file.exists():
            file = self._files(folder).get(download.id)
        if file is None:
            raise no_such("download", download.id, str(folder), list(self._files_of[folder]))
        return file

    def _files(self, folder: Path) -> dict[str, Path]:
        """Return the files of an export by the download that they hold."""
        files: dict[str, Path] = {}
        known: dict[str, Path] = {}
        for file in self._ignored.data_in(folder):
            download = data_id(file.name)
            other = known.setdefault(same_id(download), file)
            if other is not file:
                raise UntrustedDataError(f"{file} and {other.name} hold the same download; move one away")
            files[download] = file
        self._files_of[folder] = files
        return files


def _unpickled(root: Path, ignore: Sequence[str]) -> FolderSource:
    return FolderSource(root, ignore=ignore)


def _key(download: Download) -> Key:
    """Return what tells a listed download from another version of it."""
    return download.id, download.rows, download.etag


def _compare(folder: Path, entries: Iterable[ManifestEntry], files: Iterable[Path]) -> None:
    """Raise UntrustedDataError when a folder holds other files than its manifest lists."""
    named = {entry.file: folder / entry.file for entry in entries}
    for name, file in named.items():
        if file.is_dir() or not file.exists():
            raise UntrustedDataError(
                f"{folder / MANIFEST} lists {name}, which is not there; `mockexport downloads fetch` completes it"
            )
    for file in files:
        if file.name not in named:
            raise UntrustedDataError(
                f"{file} is not listed in its folder's {MANIFEST}; move the file away, or list it there"
            )
