"""The table's files: how they are compressed, and how large they become."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import polars as pl

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Codec = Literal["zstd", "snappy", "lz4", "uncompressed"]

__all__ = ["FileFormat", "read_compression"]

ROWS_A_GROUP = 1 << 15  # of a Parquet file: the least that a query reads
SAMPLE = 1 << 16  # rows that tell how many bytes a row takes
MOST_BYTES_A_ROW = 3_000  # two ids of 128 characters of four bytes, and numbers; so a small run needs no sample
ZSTD = re.compile(r"zstd(?::([0-9]{1,2}))?")
LEVELS = range(1, 23)
CODECS: dict[str, Codec] = {"snappy": "snappy", "lz4": "lz4", "none": "uncompressed"}


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How files are written. `size` is about how many bytes a file has; without it, each frame is a file."""

    codec: Codec = "zstd"
    level: int | None = 1
    size: int | None = None

    def write(self, frame: pl.DataFrame, target: str | BytesIO, options: dict[str, str] | None = None) -> None:
        """Write a file."""
        frame.write_parquet(
            target,
            compression=self.codec,
            compression_level=self.level,
            row_group_size=ROWS_A_GROUP,
            storage_options=options,
        )

    def sized(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the same rows in the same order, in frames whose files have about the wanted size.

        What makes a file is in memory, uncompressed.
        """
        if self.size is None:
            yield from frames
            return
        rest: pl.DataFrame | None = None
        rows = 0
        for frame in frames:
            rest = pl.concat([rest, frame]) if rest is not None else frame
            if not rows and rest.height * MOST_BYTES_A_ROW > self.size:
                rows = max(1, int(self.size / self._bytes_a_row(rest.head(SAMPLE))))
            while rows and rest.height > rows:
                yield rest.head(rows)
                rest = rest.slice(rows)
        if rest is not None:
            yield rest

    def _bytes_a_row(self, sample: pl.DataFrame) -> float:
        file = BytesIO()
        self.write(sample, file)
        return file.tell() / sample.height


def read_compression(text: str) -> tuple[Codec, int | None]:
    """Read a compression: zstd, with a level such as zstd:3, or snappy, lz4 or none. Raises UsageError."""
    if codec := CODECS.get(text):
        return codec, None
    found = ZSTD.fullmatch(text)
    level = int(found[1] or 1) if found else 0
    if level not in LEVELS:
        raise UsageError(f"table compression {text} is unknown; use zstd:1 to zstd:22, snappy, lz4 or none")
    return "zstd", level
