"""Where the frames of a Zstandard file begin, in the file and in its text, so that it can be read from its middle.

A frame is compressed by itself (RFC 8878, section 3.1). Only the headers of frames and blocks are read here, and
nothing is decompressed: whatever is wrong beyond them is found when the frame is read.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mockexport.local_file import LocalFile

if TYPE_CHECKING:
    from mockexport.place import Place

__all__ = ["Frames", "find_frames", "zstd_frames"]

MAGIC = 0xFD2FB528
SKIPPABLE = 0x184D2A50  # and the 15 numbers behind it (section 3.1.2)
CONTENT_SIZE_BYTES = (0, 2, 4, 8)
DICTIONARY_ID_BYTES = (0, 1, 2, 4)
CHECKSUM_BYTES = 4
BLOCK_LIMIT = 1 << 17  # bytes of a block, compressed or not (section 3.1.1.2.4)
RLE, COMPRESSED, RESERVED = 1, 2, 3  # kinds of block; the first, 0, is raw bytes
MAX_STEPS = 1 << 18  # numbers read, mostly one a block: half a second, and 32 GiB of text in blocks of the usual size
FILES_KEPT = 16


class Readable(Protocol):
    """What a file can do, as far as it matters here."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, all of them unless the file ends."""

    def seek(self, place: int, /) -> object:
        """Continue at a byte."""


class _CannotTellError(Exception):
    """A frame does not declare its size or is damaged, the last one is cut short, or there is too much to walk over."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a file: where each begins, in bytes of the file and of its text; and the bytes of the text."""

    begins: tuple[int, ...]
    texts: tuple[int, ...]
    size: int

    @property
    def largest(self) -> int:
        """How many bytes of text the largest frame has."""
        return max(stop - start for start, stop in zip(self.texts, (*self.texts[1:], self.size), strict=True))

    def holding(self, offset: int) -> tuple[int, int]:
        """Return where the frame begins that holds a byte of the text: in the file, and in the text."""
        number = bisect_right(self.texts, offset) - 1
        return self.begins[number], self.texts[number]


def zstd_frames(path: Place, etag: str) -> Frames | None:
    """Return the frames of the version of a file that `etag` names; None if they cannot be told, or there is but one.

    A file that cannot be read is an error only to those who read it. Raises ChangedError if it has another version.
    In a store they are not looked for: each header of a block would be a request. There, `find_table` tells them.
    """
    return _frames_of(path, etag) if isinstance(path, Path) else None


@lru_cache(FILES_KEPT)  # the frames of one version never change, and each split of a file asks for them
def _frames_of(path: Path, etag: str) -> Frames | None:
    try:
        with LocalFile(path, etag) as file:
            frames = find_frames(file, file.size)
            file.check()
    except OSError:
        return None
    return frames


def find_frames(file: Readable, size: int) -> Frames | None:
    """Return the frames of a file of `size` bytes; None if they cannot be told, or there is but one."""
    try:
        return _Walk(file, size).frames()
    except _CannotTellError:
        return None


class _Walk:
    """A walk over a file, from header to header."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self._size = size
        self._place = 0
        self._steps = 0

    def frames(self) -> Frames | None:
        begins, texts, text = [], [], 0
        while self._place < self._size:
            begin, magic = self._place, self._number(4)
            if magic & ~0xF == SKIPPABLE:
                self._skip(self._number(4))
            elif magic == MAGIC:
                begins.append(begin)
                texts.append(text)
                text += self._frame()
            else:
                raise _CannotTellError
        return Frames(tuple(begins), tuple(texts), text) if len(begins) > 1 else None

    def _frame(self) -> int:
        """Go from the header of a frame to its end; return how many bytes of text it has (section 3.1.1)."""
        descriptor = self._number(1)
        is_single_segment = bool(descriptor & 0x20)
        content_bytes = CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
        if not content_bytes or descriptor & 0x08:  # a bit that is reserved
            raise _CannotTellError
        self._skip(int(not is_single_segment) + DICTIONARY_ID_BYTES[descriptor & 0x03])
        content = self._number(content_bytes) + (256 if content_bytes == 2 else 0)  # noqa: PLR2004 - section 3.1.1.1.4
        least = most = 0  # bytes of text that the blocks can have
        is_last = False
        while not is_last:
            header = self._number(3)
            is_last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
            if kind == RESERVED or length > BLOCK_LIMIT:
                raise _CannotTellError
            least += 0 if kind == COMPRESSED else length
            most += BLOCK_LIMIT if kind == COMPRESSED else length
            self._skip(1 if kind == RLE else length)
        if not least <= content <= most:
            raise _CannotTellError
        if descriptor & 0x04:
            self._skip(CHECKSUM_BYTES)
        return content

    def _number(self, size: int) -> int:
        """Read a little-endian number."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _CannotTellError
        self._file.seek(self._place)
        data = self._file.read(size)
        self._skip(size)
        return int.from_bytes(data, "little")

    def _skip(self, size: int) -> None:
        self._place += size
        if self._place > self._size:
            raise _CannotTellError
