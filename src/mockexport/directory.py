"""DirectorySource: a folder of exports, each a folder of CSV files.

    <root>/<export>/<download>.csv      or .csv.gz or .csv.zst
    <root>/<export>/manifest.json       declares what the files should hold; it may be missing

With a manifest, the folder is taken for what the manifest says: a file that it lists and that isn't there, one that is
there and not listed, and one whose SHA-256 differs are all errors.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from mockexport.catalog import Download
from mockexport.errors import NotFoundError, UnreachableError, UntrustedDataError, no_such
from mockexport.identity import FileVersion
from mockexport.manifest import MANIFEST, ManifestEntry, read_manifest
from mockexport.wire import is_plain_id
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockexport.source import Chunks

__all__ = ["DirectorySource"]

PIECE_BYTES = 1 << 26
CHUNK_BYTES = 1 << 19  # fits a core's own cache, so that the tally finds it there; smaller ones cost more turns
SUFFIXES = (".csv", ".csv.gz", ".csv.zst")


@contextmanager
def _reading() -> Generator[None, None, None]:
    """Turn what the file system refuses into our own error."""
    try:
        yield
    except OSError as error:
        raise UnreachableError(f"cannot read {error.filename}: {error.strerror}") from error


class DirectorySource:
    """The exports below a folder. Raises NotFoundError when there is no such folder."""

    @_reading()
    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        self._manifest: tuple[object, dict[str, ManifestEntry]] = (None, {})  # the one read last, by its file's state
        self._listed: dict[str, dict[Download, tuple[Path, ManifestEntry | None]]] = {}  # of each export, the last time
        if not self._root.is_dir():
            raise NotFoundError(f"no folder {str(root)!r}; a source is mock, a folder of exports or an http(s) URL")

    def __reduce__(self) -> tuple[type[DirectorySource], tuple[Path]]:
        """Travel to a process that may run elsewhere as the whole path."""
        return DirectorySource, (self._root.absolute(),)

    @property
    def name(self) -> str:
        """The folder, as the user wrote it."""
        return str(self._root)

    @_reading()
    def exports(self) -> list[str]:
        """Return the names of the folders that hold CSV files or a manifest."""
        return sorted(folder.name for folder in self._root.iterdir() if self._is_export(folder))

    @_reading()
    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads: in the manifest's order, or else by name."""
        folder = self._folder(export)
        files = self._files(folder)
        entries = self._entries(folder, export)
        if entries is None:
            self._listed[export] = {self._download(export, name, file): (file, None) for name, file in files.items()}
            return list(self._listed[export])
        named = {entry.file for entry in entries.values()}
        for entry in entries.values():
            if not (folder / entry.file).is_file():
                raise UntrustedDataError(
                    f"{folder / MANIFEST} lists {entry.file}, which is not there; "
                    "`mockexport downloads fetch` completes it"
                )
        for file in files.values():
            if file.name not in named:
                raise UntrustedDataError(
                    f"{file} is not listed in its folder's {MANIFEST}; move the file away, or list it there"
                )
        self._listed[export] = {
            replace(entry.download, **_of_file(folder / entry.file, in_pieces=not entry.sha256)): (
                folder / entry.file,
                entry,
            )
            for entry in entries.values()
        }
        return list(self._listed[export])

    @_reading()
    def open(self, download: Download, offset: int = 0) -> Chunks:
        """Stream a file, unpacked, from byte `offset` of the CSV on; read to its end, its SHA-256 is checked.

        Raises UntrustedDataError, once it is read, when the file is not the one that was listed.
        """
        listed = self._listed.get(download.export, {}).get(download)
        if listed and listed[0].is_file():  # its etag will show whether it is still the same
            return _chunks(*listed, offset, download.etag)
        folder = self._root / download.export if is_plain_id(download.export) else self._folder(download.export)
        entries = self._entries(folder, download.export)
        if entries is None:
            return _chunks(self._file(folder, download), None, offset, download.etag)
        entry = entries.get(download.id)
        if entry is None:
            raise no_such("download", download.id, str(folder), list(entries))
        return _chunks(folder / entry.file, entry, offset, download.etag)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _folder(self, export: str) -> Path:
        known = self.exports()
        if export in known:
            return self._root / export
        if not known and any(_download_in(file) for file in self._root.iterdir()):
            raise NotFoundError(
                f"{self.name} holds CSV files itself: an export is a folder in the source; "
                f"try --source {str(self._root.absolute().parent)!r} and export {self._root.absolute().name!r}"
            )
        raise no_such("export", export, self.name, known)

    def _is_export(self, folder: Path) -> bool:
        return (
            folder.is_dir()
            and not folder.name.startswith(".")
            and any(file.name == MANIFEST or _download_in(file) for file in folder.iterdir())
        )

    def _entries(self, folder: Path, export: str) -> dict[str, ManifestEntry] | None:
        """Return what an export's manifest says of each download; a manifest of thousands is not read for each."""
        path = folder / MANIFEST
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        state = (path, status.st_ino, status.st_mtime_ns, status.st_size)
        kept, entries = self._manifest
        if kept != state:
            entries = {entry.download.id: entry for entry in read_manifest(path, export) or ()}
            self._manifest = (state, entries)
        return entries

    def _file(self, folder: Path, download: Download) -> Path:
        """Return a download's file, without a look at all the others, of which there may be thousands."""
        named = [folder / f"{download.id}{suffix}" for suffix in SUFFIXES] if is_plain_id(download.id) else []
        found = [file for file in named if file.is_file()]
        if len(found) == 1:
            return found[0]
        files = self._files(self._folder(download.export))
        if download.id not in files:
            raise no_such("download", download.id, str(folder), list(files))
        return files[download.id]

    def _files(self, folder: Path) -> dict[str, Path]:
        """Return the CSV files of an export by the download that they hold."""
        files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            download = _download_in(file)
            if not download or file.is_dir():  # a link that leads nowhere stays, to be missed later on
                continue
            if download in files:
                raise UntrustedDataError(f"{file} and {files[download].name} hold the same download; move one away")
            files[download] = file
        return files

    @staticmethod
    def _download(export: str, name: str, file: Path) -> Download:
        return Download(export=export, id=name, **_of_file(file, in_pieces=True))


def _download_in(file: Path) -> str | None:
    """Return the id of the download that a file holds, by its name; None for other files and hidden ones."""
    suffix = next((suffix for suffix in SUFFIXES if file.name.endswith(suffix)), None)
    return file.name.removesuffix(suffix) if suffix and not file.name.startswith(".") else None


def _of_file(file: Path, *, in_pieces: bool) -> dict[str, Any]:
    """What the file system tells: the size of the CSV, where it isn't packed, and a name for this very content.

    A file may be read in pieces when nothing has to be seen from its start: it isn't packed, nor to be hashed.
    """
    status = file.stat()
    etag = _etag(status)
    if file.suffix != ".csv":
        return {"etag": etag}
    return {"etag": etag, "size": status.st_size, "piece": PIECE_BYTES if in_pieces else None}


def _etag(status: os.stat_result) -> str:
    return FileVersion.of(status).etag


def _chunks(file: Path, entry: ManifestEntry | None, offset: int, etag: str | None) -> Chunks:
    try:
        with file.open("rb", buffering=0) as raw:
            if etag not in (None, _etag(os.fstat(raw.fileno()))):
                raise UntrustedDataError(f"{file} has changed since it was listed, or is another file on this machine")
            reader = _HashingReader(raw, entry)
            opened = _unpacked(file, reader)
            if file.suffix == ".csv" and offset:
                raw.seek(offset)
                reader.forget()
                offset = 0
            while chunk := opened.read(CHUNK_BYTES):
                if offset < len(chunk):
                    yield chunk[offset:] if offset else chunk
                offset = max(0, offset - len(chunk))
            reader.check(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UntrustedDataError(f"{file} can't be unpacked: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot read {file}: {error.strerror or error}") from error


def _unpacked(file: Path, reader: _HashingReader) -> BinaryIO:
    if file.suffix == ".gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", reader)))
    if file.suffix == ".zst":
        return cast("BinaryIO", _ZstdReader(file, reader))
    return cast("BinaryIO", reader)


class _ZstdReader:
    """A zstd file as the CSV in it; the module's own error becomes ours."""

    def __init__(self, file: Path, reader: _HashingReader) -> None:
        zstd = zstd_module()
        self._file = file
        self._error = zstd.ZstdError
        self._opened = zstd.ZstdFile(io.BufferedReader(cast("io.RawIOBase", reader)))

    def read(self, size: int) -> bytes:
        try:
            return cast("bytes", self._opened.read(size))
        except self._error as error:
            raise UntrustedDataError(f"{self._file} can't be unpacked: {error}") from error


class _HashingReader(io.RawIOBase):
    """A file that takes the SHA-256 of all that is read from it, when its manifest declares one."""

    def __init__(self, raw: io.FileIO, entry: ManifestEntry | None) -> None:
        self._raw = raw
        self._wanted = entry.sha256 if entry else None
        self._hash = hashlib.sha256() if self._wanted else None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size) or b""
        if self._hash:
            self._hash.update(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def forget(self) -> None:
        """Give up the check: the file is not read from its start."""
        self._hash = None

    def check(self, file: Path) -> None:
        """At the end of the file: raise UntrustedDataError when it isn't what the manifest declares."""
        if self._hash and self._hash.hexdigest() != self._wanted:
            raise UntrustedDataError(
                f"{file} has SHA-256 {self._hash.hexdigest()[:12]}…, "
                f"but its manifest declares {str(self._wanted)[:12]}…; fetch it anew"
            )
