"""The files that are counted, made in a temporary folder as they are asked for."""

from __future__ import annotations

import itertools
import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.sources import MockFhirSource, choose_generator
from mockexport.sources.mock.specs import plans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MOCK_ROWS", "Made", "Setup", "export_file", "link_export", "repeat_rows", "resource_file", "split_file"]

HEADER = b"patient_id,event_time,event_type,value\n"
CHUNK = 1 << 20
MOCK_ROWS = {export: sum(plan.rows for plan in plans(export)) for export in ("demo", "small", "large")}


@dataclass(frozen=True, slots=True)
class Setup:
    """Where the files go, how large the large one is in bytes, and how many rounds each contest has."""

    folder: Path
    quick: bool = False

    @property
    def large(self) -> int:
        return 100_000_000 if self.quick else 1_000_000_000

    @property
    def in_memory(self) -> int:
        return 20_000_000 if self.quick else 90_000_000

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 5

    @property
    def few(self) -> int:
        """Rounds of what takes long, or matters less."""
        return 1 if self.quick else 3


@dataclass(frozen=True, slots=True)
class Made:
    """A file of an export, and its rows."""

    path: Path
    rows: int

    @property
    def size(self) -> int:
        return self.path.stat().st_size


def made_rows() -> Iterator[bytes]:
    """Rows like those of the export large, without end, whole ones in each piece and no header."""
    generator_type = choose_generator()
    for plan in itertools.cycle(plans("large")):
        generator, rest = generator_type(plan), b""
        first = True
        while chunk := generator.read(CHUNK):
            whole, end, rest = (rest + chunk).rpartition(b"\n")
            yield (whole + end).removeprefix(HEADER) if first else whole + end
            first = False


def repeat_rows(rows: bytes) -> Iterator[bytes]:
    """The same rows again and again."""
    return itertools.repeat(rows)


def export_file(path: Path, size: int, rows: Iterator[bytes] | None = None) -> Made:
    """Make a CSV file of about so many bytes, if there is none yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(HEADER)
            for chunk in rows or made_rows():
                left = size - file.tell()
                file.write(chunk if len(chunk) <= left else chunk[: chunk.rfind(b"\n", 0, max(1, left)) + 1])
                if len(chunk) >= left:
                    break
            file.flush()
            os.fsync(file.fileno())  # so that nothing is still being written while others read
    with path.open("rb") as file:
        found = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(CHUNK), b""))
    return Made(path, found - 1)


def resource_file(path: Path, size: int) -> Made:
    """Make a file of Observations like those of the export large, of about so many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source, rows, left = MockFhirSource(), 0, size
    download = list(source.downloads("large"))[1]  # the first one has the Patients
    with path.open("wb") as file, closing(source.open(download)) as chunks:
        for chunk in chunks:
            part = chunk if len(chunk) < left else chunk[: chunk.rfind(b"\n", 0, max(1, left)) + 1]
            file.write(part)
            rows += part.count(b"\n")
            left -= len(part)
            if len(part) < len(chunk):
                break
        file.flush()
        os.fsync(file.fileno())
    return Made(path, rows)


def split_file(made: Made, folder: Path, files: int) -> list[Path]:
    """Cut a file into so many of about the same size, each with a header."""
    folder.mkdir(parents=True)
    part = -(-made.size // files)
    with made.path.open("rb") as whole:
        whole.readline()
        for number in range(files):
            rows = whole.read(part)
            (folder / f"{number:04}.csv").write_bytes(HEADER + rows + whole.readline())
    os.sync()
    return sorted(folder.iterdir())


def link_export(made: Made, folder: Path, files: int) -> list[Path]:
    """Make an export of the same file many times over, without its bytes."""
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number:04}{made.path.suffix}").hardlink_to(made.path)
    return sorted(folder.iterdir())
