"""A CSV file, packed or not, as chunks of its CSV: all of one version of the file, or an error."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.local_file import LocalFile
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.source import Chunks

__all__ = ["read_csv_file"]

CHUNK_BYTES = 1 << 19  # fits a core's own cache, so that the tally finds it there; smaller ones cost more turns


def read_csv_file(path: Path, offset: int = 0, etag: str | None = None, sha256: str | None = None) -> Chunks:
    """Stream a file, unpacked, from byte `offset` of the CSV on; read to its end, its SHA-256 is checked.

    `etag` is that of the version that was listed. Raises ChangedError for any other one, before a chunk of it is given;
    UntrustedDataError for a file that can't be unpacked, that is not a regular one, or whose SHA-256 differs.
    """
    try:
        with LocalFile(path, etag) as file:
            try:
                yield from _chunks(file, path, offset, sha256)
            except (EOFError, zlib.error, gzip.BadGzipFile, UntrustedDataError) as error:
                file.check()  # a file that changed is not a damaged one
                if isinstance(error, UntrustedDataError):
                    raise
                raise UntrustedDataError(f"{path} cannot be decompressed: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot read {path}: {error.strerror or error}") from error


def _chunks(file: LocalFile, path: Path, offset: int, sha256: str | None) -> Chunks:
    reader = _HashingReader(file, sha256)
    opened = _unpacked(path, reader)
    if path.suffix == ".csv" and offset:
        file.seek(offset)
        reader.forget()
        offset = 0
    while chunk := opened.read(CHUNK_BYTES):
        file.check()
        if offset < len(chunk):
            yield chunk[offset:] if offset else chunk
        offset = max(0, offset - len(chunk))
    file.check_end()
    reader.check(path)


def _unpacked(path: Path, reader: _HashingReader) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", reader)))
    if path.suffix == ".zst":
        return cast("BinaryIO", _ZstdReader(path, reader))
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
            raise UntrustedDataError(f"{self._file} cannot be decompressed: {error}") from error


class _HashingReader(io.RawIOBase):
    """A file that takes the SHA-256 of all that is read from it, when its manifest declares one."""

    def __init__(self, file: LocalFile, sha256: str | None) -> None:
        self._file = file
        self._wanted = sha256
        self._hash = hashlib.sha256() if sha256 else None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
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
                f"but its manifest declares {str(self._wanted)[:12]}…; fetch it again"
            )
