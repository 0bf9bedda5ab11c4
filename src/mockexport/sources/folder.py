"""FolderSource: a folder of exports, each a folder of CSV files.

    <root>/<export>/<download>.csv      or .csv.gz or .csv.zst
    <root>/<export>/manifest.json       declares what the files should hold; it may be missing

With a manifest, the folder is taken for what the manifest says: a file that it lists and that isn't there, one that is
there and not listed, and one whose SHA-256 differs are all errors.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockexport.errors import NotFoundError, UnreachableError, UntrustedDataError, no_such, url_meant
from mockexport.local_file import file_versions
from mockexport.manifest import MANIFEST, ManifestEntry, read_manifest
from mockexport.model import Download
from mockexport.sources.csv_file import read_csv_file
from mockexport.wire import is_plain_id, same_id

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from mockexport.identity import FileVersion
    from mockexport.source import Chunks

__all__ = ["FolderSource"]

log = logging.getLogger(__name__)
SPLIT_BYTES = 1 << 26
Key = tuple[str, int | None, str | None]
SUFFIXES = (".csv", ".csv.gz", ".csv.zst")


@contextmanager
def _reading() -> Generator[None, None, None]:
    """Turn what the file system refuses into our own error."""
    try:
        yield
    except OSError as error:
        raise UnreachableError(f"cannot read {error.filename}: {error.strerror}") from error


class FolderSource:
    """The exports below a folder. Raises NotFoundError when there is no such folder."""

    @_reading()
    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        self._manifest: tuple[object, dict[str, ManifestEntry]] = (None, {})  # the one read last, by its file's version
        self._listed: dict[str, dict[Key, tuple[Path, str | None]]] = {}  # of each export: its files and SHA-256
        self._told: set[Path] = set()  # the folders that can't be read
        if not self._root.is_dir():
            meant = url_meant(str(root))
            hint = f"did you mean {meant}?" if meant else "a source is mock, a folder of exports or an http(s) URL"
            raise NotFoundError(f"no folder {str(root)!r}; {hint}")

    def __reduce__(self) -> tuple[type[FolderSource], tuple[Path]]:
        """Pickle the absolute path: another process may have another working directory."""
        return FolderSource, (self._root.absolute(),)

    @property
    def name(self) -> str:
        """The folder, as the user wrote it."""
        return str(self._root)

    @property
    def root(self) -> Path:
        """The folder above those of the exports."""
        return self._root

    @_reading()
    def exports(self) -> list[str]:
        """Return the names of the folders that hold CSV files or a manifest; warn of one that cannot be read."""
        return sorted(folder.name for folder in self._root.iterdir() if self._is_export_or_tell(folder))

    @_reading()
    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads: in the manifest's order, or else by name."""
        folder = self._folder(export)
        files = self._files(folder)
        entries = self._entries(folder, export)
        downloads: list[Download] = []
        listed: dict[Key, tuple[Path, str | None]] = {}
        if entries is None:
            versions = file_versions(files.values())
            for name, file in files.items():
                declared = _declared(file, versions[file], can_be_split=True)
                downloads.append(Download(export=export, id=name, **declared))
                listed[_key(downloads[-1])] = (file, None)
        else:
            _compare(folder, entries.values(), files.values())
            versions = file_versions(folder / entry.file for entry in entries.values())
            for entry in entries.values():
                file = folder / entry.file
                declared = _declared(file, versions[file], can_be_split=not entry.sha256)
                downloads.append(replace(entry.download, **declared))
                listed[_key(downloads[-1])] = (file, entry.sha256)
        self._listed[export] = listed
        return downloads

    @_reading()
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
        folder = self._root / download.export if is_plain_id(download.export) else self._folder(download.export)
        entries = self._entries(folder, download.export)
        if entries is None:
            return self._file(folder, download), None
        entry = entries.get(download.id)
        if entry is None:
            raise no_such("download", download.id, str(folder), list(entries))
        return folder / entry.file, entry.sha256

    def _folder(self, export: str) -> Path:
        for folder in self._root.iterdir():
            if folder.name == export and _is_export(folder):
                return folder
        known = self.exports()
        if not known and any(_download_in(file) for file in self._root.iterdir()):
            raise NotFoundError(
                f"{self.name} holds CSV files itself: an export is a folder in the source; "
                f"try source {str(self._root.absolute().parent)!r} and export {self._root.absolute().name!r}"
            )
        raise no_such("export", export, self.name, known)

    def _is_export_or_tell(self, folder: Path) -> bool:
        """Tell whether a folder is an export; say so, once, of one that can't be looked into."""
        try:
            return _is_export(folder)
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
        """Return a download's file, without a look at all the others, of which there may be thousands."""
        named = [folder / f"{download.id}{suffix}" for suffix in SUFFIXES] if is_plain_id(download.id) else []
        found = [file for file in named if file.exists() and not file.is_dir()]
        if len(found) == 1:
            return found[0]
        files = self._files(self._folder(download.export))
        if download.id not in files:
            raise no_such("download", download.id, str(folder), list(files))
        return files[download.id]

    def _files(self, folder: Path) -> dict[str, Path]:
        """Return the CSV files of an export by the download that they hold."""
        files: dict[str, Path] = {}
        known: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            download = _download_in(file)
            if not download or file.is_dir():  # a link that leads nowhere stays, to be missed later on
                continue
            other = known.setdefault(same_id(download), file)
            if other is not file:
                raise UntrustedDataError(f"{file} and {other.name} hold the same download; move one away")
            files[download] = file
        return files


def _key(download: Download) -> Key:
    """Return what tells a listed download from another version of it."""
    return download.id, download.rows, download.etag


def _is_export(folder: Path) -> bool:
    return (
        folder.is_dir()
        and not folder.name.startswith(".")
        and any(file.name == MANIFEST or _download_in(file) for file in folder.iterdir())
    )


def _download_in(file: Path) -> str | None:
    """Return the id of the download that a file holds, by its name; None for other files and hidden ones."""
    suffix = next((suffix for suffix in SUFFIXES if file.name.endswith(suffix)), None)
    return file.name.removesuffix(suffix) if suffix and not file.name.startswith(".") else None


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


def _declared(file: Path, version: FileVersion | None, *, can_be_split: bool) -> dict[str, Any]:
    """What the file system tells of a file: the size of the CSV, where it isn't packed, and its ETag.

    A file that is being written just now has neither. One can be split when nothing has to be read from its start:
    it is neither packed nor to be hashed.
    """
    if version is None:
        return {}
    if file.suffix != ".csv":
        return {"etag": version.etag}
    return {"etag": version.etag, "size": version.size, "split_size": SPLIT_BYTES if can_be_split else None}
