"""A file of records, compressed or not, as chunks of its text: all of one version of the file, or an error."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.local_file import LocalFile
from mockexport.place import open_file
from mockexport.sources.data_files import compression, zstd_table
from mockexport.sources.parquet import is_parquet, read_parquet
from mockexport.sources.zstd_frames import zstd_frames
from mockexport.sources.zstd_table import FramesReader
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockexport.place import OpenFile, Place
    from mockexport.source import Chunks

__all__ = ["read_csv_file", "reading"]

CHUNK_BYTES = 1 << 19  # fits a core's own cache, so that the tally finds it there; smaller ones cost more turns
XZ_MEMORY = 1 << 30  # bytes; `xz -9` takes a sixteenth


@contextmanager
def reading() -> Generator[None, None, None]:
    """Turn what the file system refuses into UnreachableError."""
    try:
        yield
    except OSError as error:
        raise UnreachableError(f"cannot read {error.filename}: {error.strerror}") from error


def read_csv_file(
    path: Place, offset: int = 0, etag: str | None = None, sha256: str | None = None, **watch: Any
) -> Chunks:
    """Stream a file, decompressed, from byte `offset` of the text on; read to its end, its SHA-256 is checked.

    `etag` is that of the version that was listed, `watch` that of `Source.open`. Raises ChangedError for any other one,
    before a chunk of it is given; UntrustedDataError for a file that cannot be decompressed, that is not a regular one,
    or whose SHA-256 differs.
    """
    try:
        if is_parquet(path.name):
            yield from read_parquet(path, offset, etag, **watch)
            return
        with open_file(path, etag, **watch) as file:
            try:
                yield from _chunks(file, path, offset, sha256)
            except (EOFError, zlib.error, gzip.BadGzipFile, UntrustedDataError) as error:
                file.check()  # a file that changed is not a damaged one
                if isinstance(error, UntrustedDataError):
                    raise
                raise UntrustedDataError(f"{path} cannot be decompressed: {error}") from error
    except OSError as error:
        raise UnreachableError(f"cannot read {path}: {error.strerror or error}") from error


def _chunks(file: OpenFile, path: Place, offset: int, sha256: str | None) -> Chunks:
    reader = _HashingReader(file, sha256)
    table = zstd_table(path, file) if offset else None
    if table:
        place, skipped = table.holding(offset)
        file.seek(place)
        reader.forget()
        opened = cast("BinaryIO", FramesReader(path, reader, table, place))
    else:
        place, skipped = _place_of(offset, path, file.etag if isinstance(file, LocalFile) else None)
        if place:
            file.seek(place)
            reader.forget()
        opened = _decompressed(path, reader)
    offset -= skipped
    while chunk := opened.read(CHUNK_BYTES):
        file.check()
        if offset < len(chunk):
            yield chunk[offset:] if offset else chunk
        offset = max(0, offset - len(chunk))
    file.check_end()
    reader.check(path)


def _place_of(offset: int, path: Place, etag: str | None) -> tuple[int, int]:
    """Return from which byte of the file to read for a byte of its text, and which byte of the text that one begins."""
    suffix = compression(path.name)
    if suffix is None or not offset:
        return offset, offset
    frames = zstd_frames(path, etag) if suffix == ".zst" and etag else None
    return frames.holding(offset) if frames else (0, 0)


def _decompressed(path: Place, reader: _HashingReader) -> BinaryIO:
    suffix = compression(path.name)
    if suffix == ".gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", reader)))
    if suffix == ".zst":
        return cast("BinaryIO", _ZstdReader(path, reader))
    if suffix:
        return cast("BinaryIO", _StreamsReader(path, reader, suffix))
    return cast("BinaryIO", reader)


class _ZstdReader:
    """A zstd file as the text in it; the module's own error becomes ours."""

    def __init__(self, file: Place, reader: _HashingReader) -> None:
        zstd = zstd_module()
        self._file = file
        self._error = zstd.ZstdError
        self._opened = zstd.ZstdFile(io.BufferedReader(cast("io.RawIOBase", reader)))

    def read(self, size: int) -> bytes:
        try:
            return cast("bytes", self._opened.read(size))
        except self._error as error:
            raise UntrustedDataError(f"{self._file} cannot be decompressed: {error}") from error


class _StreamsReader:
    """A bzip2 or xz file, of one stream or several, as the text in it.

    The standard library's readers ignore whatever follows the last stream; here it is an error, but for the zero bytes
    with which xz files may be padded.
    """

    def __init__(self, file: Place, reader: _HashingReader, suffix: str) -> None:
        try:
            self._new, self._error = _xz() if suffix == ".xz" else _bzip2()
        except ImportError as error:
            raise UsageError(f"this Python was built without {error.name}, which {file} needs") from error
        self._file = file
        self._reader = reader
        self._padding = b"\0" if suffix == ".xz" else b""
        self._stream: Any = None  # None between streams
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the last stream."""
        while True:
            data = self._rest
            if not data and (self._stream is None or self._stream.needs_input):
                data = self._reader.read(CHUNK_BYTES)
                if not data and self._stream is None:
                    return b""
                if not data:
                    raise EOFError("it ends before its compressed data does")
            if self._stream is None:
                data = data.lstrip(self._padding) if self._padding else data
            self._rest = b""
            if data or self._stream:
                chunk = self._decompress(data, size)
                if chunk:
                    return chunk

    def _decompress(self, data: bytes, size: int) -> bytes:
        self._stream = self._stream or self._new()
        try:
            chunk: bytes = self._stream.decompress(data, size)
        except self._error as error:
            raise UntrustedDataError(f"{self._file} cannot be decompressed: {error}") from error
        if self._stream.eof:
            self._rest, self._stream = self._stream.unused_data, None
        return chunk


def _bzip2() -> tuple[Callable[[], Any], type[Exception]]:
    import bz2

    return bz2.BZ2Decompressor, OSError


def _xz() -> tuple[Callable[[], Any], type[Exception]]:
    import lzma

    return partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY), lzma.LZMAError


class _HashingReader(io.RawIOBase):
    """A file that takes the SHA-256 of all that is read from it, when its manifest declares one."""

    def __init__(self, file: OpenFile, sha256: str | None) -> None:
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

    def check(self, file: Place) -> None:
        """At the end of the file: raise UntrustedDataError when it isn't what the manifest declares."""
        if self._hash and self._hash.hexdigest() != self._wanted:
            raise UntrustedDataError(
                f"{file} has SHA-256 {self._hash.hexdigest()[:12]}…, "
                f"but its manifest declares {str(self._wanted)[:12]}…; fetch it again"
            )
