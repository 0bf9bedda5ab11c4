"""All records of many sorted runs in order, block by block.

The runs are cut at pivots into parts that fit into memory; a part is read from all runs, sorted, and given. So a block
is made by few large reads and one sort, and no code runs for each record. Pivots are sampled. Where a part is too large
all the same, it is cut again, so that the limit holds whatever the records are. Those that are equal to a pivot are not
even read, so any number of them may be equal.
"""

from __future__ import annotations

import contextlib
import io
import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mockexport.errors import UsageError
from mockexport.sorting.kernel import choose_sort, records_in

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from mockexport.sorting.contract import Sort
    from mockexport.sorting.runs import Run, Runs

__all__ = ["sorted_blocks"]

BLOCKS_HELD = 3  # what is being sorted, a copy of it, and the block before, which its taker still has
MAX_PARTS = 256  # that are cut at a time; with more, they are cut again: this limits what the samples take
SAMPLES = 64  # for each part; its size is then known to about 1 / sqrt(SAMPLES), and mostly better


def sorted_blocks(runs: Runs, *, memory: int, kernel: str = "auto") -> Iterator[bytes]:
    """Give all records of all runs in order, in blocks of whole records.

    At most `memory` bytes are held, the block that was given last among them. On top come the runs that are in memory,
    some hundred bytes for each run, and at most 2 MB of samples. No file stays open between two blocks.

    Raises UsageError if a file can't be read or has been changed, and what `choose_sort` raises.
    """
    most = max(1, records_in(memory, runs.width, kernel) // BLOCKS_HELD)
    slices = [Slice(run, 0, length(run) // runs.width) for run in runs.runs]
    if count(slices) != runs.records:
        raise changed()
    yield from Blocks(runs.width, most, choose_sort(kernel)).in_order(slices)


@dataclass(frozen=True, slots=True)
class Slice:
    """Records of a run, by their numbers in it."""

    run: Run
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Makes blocks of at most `most` records."""

    width: int
    most: int
    sort: Sort

    def in_order(self, slices: list[Slice]) -> Iterator[bytes]:
        """Give the records of slices in order."""
        if count(slices) <= self.most:
            if slices:
                yield self._sorted(slices)
            return
        for pivot in self._pivots(slices):
            below, equal, slices = self._cut(slices, pivot)
            yield from self.in_order(below)
            for given in range(0, equal, self.most):
                yield pivot * min(self.most, equal - given)
        yield from self.in_order(slices)

    def _sorted(self, slices: list[Slice]) -> bytes:
        buffer = bytearray(count(slices) * self.width)
        rest = memoryview(buffer)
        for part in slices:
            with opened(part.run) as file:
                file.seek(part.start * self.width)
                end = (part.stop - part.start) * self.width
                while end:
                    read = file.readinto(rest[:end])
                    if not read:
                        raise changed()
                    rest, end = rest[read:], end - read
        rest.release()
        self.sort(buffer, self.width)
        return bytes(buffer)

    def _pivots(self, slices: list[Slice]) -> list[bytes]:
        """Return records, at least one, that cut the slices into parts of about the same size, well below the limit."""
        total = count(slices)
        parts = min(total * 4 // (self.most * 3) + 1, MAX_PARTS)
        samples = min(total, parts * SAMPLES)
        # One of each stretch, at random: were they evenly spaced, all might be at the same place of equal runs.
        draw = random.Random(total)
        places = [draw.randrange(n * total // samples, (n + 1) * total // samples) for n in range(samples)]
        found: list[bytes] = []
        begin = 0
        for part in slices:
            end = begin + part.stop - part.start
            with opened(part.run) as file:
                records = Records(file, self.width)
                while len(found) < samples and places[len(found)] < end:
                    found.append(records[part.start + places[len(found)] - begin])
            begin = end
        found.sort()
        return sorted({found[n * samples // parts] for n in range(1, parts)})

    def _cut(self, slices: list[Slice], pivot: bytes) -> tuple[list[Slice], int, list[Slice]]:
        """Return what is below a record, how many records are equal to it, and what is above."""
        below, equal, above = [], 0, []
        for part in slices:
            with opened(part.run) as file:
                records = Records(file, self.width)
                first = bisect_left(records, pivot, part.start, part.stop)
                behind = bisect_right(records, pivot, first, part.stop)
            equal += behind - first
            if part.start < first:
                below.append(replace(part, stop=first))
            if behind < part.stop:
                above.append(replace(part, start=behind))
        return below, equal, above


class Records:
    """The records of an open run by their numbers, for bisect."""

    def __init__(self, file: io.FileIO | io.BytesIO, width: int) -> None:
        self._file = file
        self._width = width

    def __len__(self) -> int:
        return self._file.seek(0, io.SEEK_END) // self._width

    def __getitem__(self, number: int) -> bytes:
        self._file.seek(number * self._width)
        return self._file.read(self._width)


def count(slices: list[Slice]) -> int:
    """Return the number of records in slices."""
    return sum(part.stop - part.start for part in slices)


def length(run: Run) -> int:
    """Return the bytes of a run. Raises UsageError."""
    with opened(run) as file:
        return file.seek(0, io.SEEK_END)


@contextlib.contextmanager
def opened(run: Run) -> Generator[io.FileIO | io.BytesIO, None, None]:
    """Open a run. Raises UsageError."""
    if isinstance(run, bytes):
        yield io.BytesIO(run)
        return
    try:
        with run.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read the temporary file {run}: {error.strerror}; run it again") from error


def changed() -> UsageError:
    """Build the error for runs that are not as they were written."""
    return UsageError("the temporary files of a sort were changed meanwhile; run it again")
