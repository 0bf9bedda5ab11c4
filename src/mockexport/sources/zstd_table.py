"""The seek table of a Zstandard file (format 0.1.0, zstd's contrib/seekable_format): all frames, told at the end.

Of an object in a store it is read at once, where a walk over headers would take a request each. But it only claims what
the frames are. So whoever reads by it compares each frame that it finishes: splits that all do so prove the table.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mockexport.errors import UntrustedDataError
from mockexport.sources.zstd_frames import Frames
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from mockexport.place import OpenFile, Place
    from mockexport.sources.zstd_frames import Readable

__all__ = ["FramesReader", "find_table"]

FRAME = struct.Struct("<II")  # the header of the skippable frame that the table is in: its magic number and its size
FOOTER = struct.Struct("<IBI")  # frames, flags, magic number
SKIPPABLE, SEEKABLE = 0x184D2A5E, 0x8F92EAB1
HAS_CHECKSUMS, RESERVED = 0x80, 0x7C
MAX_FRAMES = 1 << 20  # a table of 8 or 12 MiB
PIECE_BYTES = 1 << 17  # of compressed data


def find_table(file: OpenFile, size: int) -> Frames | None:
    """Return the frames that the table at the end of a file of `size` bytes tells of; None without a sound table."""
    if size < FRAME.size + FOOTER.size:
        return None
    count, flags, magic = FOOTER.unpack(_bytes_at(file, size - FOOTER.size, FOOTER.size))
    entry = struct.Struct("<II4x" if flags & HAS_CHECKSUMS else "<II")
    length = count * entry.size + FOOTER.size
    start = size - FRAME.size - length
    if magic != SEEKABLE or flags & RESERVED or not 1 < count <= MAX_FRAMES or start < 0:
        return None
    table = _bytes_at(file, start, FRAME.size + length)
    if FRAME.unpack_from(table) != (SKIPPABLE, length):
        return None
    entries = list(entry.iter_unpack(table[FRAME.size : -FOOTER.size]))
    begins = list(accumulate((packed for packed, _ in entries), initial=0))
    texts = list(accumulate((text for _, text in entries), initial=0))
    return Frames(tuple(begins[:-1]), tuple(texts[:-1]), texts[-1]) if begins[-1] == start else None


def _bytes_at(file: Readable, place: int, size: int) -> bytes:
    file.seek(place)
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data.ljust(size, b"\0")  # a file that ends early has no table


class FramesReader:
    """The text from one frame on, to the end of the last one. Raises UntrustedDataError where a frame is another one.

    Only the last frame may end anywhere, as the table does not tell where its data end: what follows it is the table.
    """

    def __init__(self, path: Place, file: Readable, frames: Frames, begin: int) -> None:
        self._path, self._file = path, file
        self._zstd = zstd_module()
        number = frames.begins.index(begin)
        ends = [*frames.begins[number + 1 :], None], [*frames.texts[number + 1 :], frames.size]
        self._frames = zip(*ends, strict=True)  # where each one ends: in the file, and in the text
        self._place, self._text = begin, frames.texts[number]
        self._end: tuple[int | None, int] = (begin, self._text)
        self._frame: Any = None  # the one that is decompressed
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the last frame."""
        while True:
            if self._frame is None:
                end = next(self._frames, None)
                if end is None:
                    return b""
                self._end, self._frame = end, self._zstd.ZstdDecompressor()
            if text := self._decompress(size):
                return text

    def _decompress(self, size: int) -> bytes:
        data = self._rest
        if not data and self._frame.needs_input:
            data = self._file.read(PIECE_BYTES)
            if not data:
                raise EOFError("it ends before its compressed data does")
        self._rest = b""
        try:
            text: bytes = self._frame.decompress(data, size)
        except self._zstd.ZstdError as error:
            raise UntrustedDataError(f"{self._path} cannot be decompressed: {error}") from error
        self._place += len(data)
        self._text += len(text)
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
            self._place -= len(self._rest)
            if self._text != self._end[1] or self._end[0] not in (None, self._place):
                raise UntrustedDataError(f"{self._path} has other frames than the table at its end tells")
        return text
