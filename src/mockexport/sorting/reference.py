"""Sorting and folds in plain Python, written to be read; the contract is contract.py."""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from typing import TYPE_CHECKING

from mockexport.sorting.contract import (
    DISTINCT_WIDTH,
    DOWNLOAD_BYTES,
    FIRST_REPEATS,
    GAPS_WIDTH,
    KEY_BYTES,
    MAX_WIDTH,
    DistinctKeys,
    PairTimes,
    Repeat,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ReferenceDistinct", "ReferenceGaps", "sort_records"]


def sort_records(buffer: bytearray, width: int) -> None:
    """Sort records of this width in place; the contract is `mockexport.sorting.contract.Sort`."""
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"width must be 1 to {MAX_WIDTH}")
    buffer[:] = b"".join(sorted(records_of(buffer, width)))


def records_of(block: bytes | bytearray, width: int) -> Iterator[bytes]:
    """Cut a block into its records. Raises ValueError if they are no whole number."""
    if len(block) % width:
        raise ValueError(f"a block must be a whole number of records of {width} bytes")
    view = memoryview(block)
    return (bytes(view[at : at + width]) for at in range(0, len(block), width))


class InOrder:
    """What folds have in common: records come one after the other, and none is less than the one before."""

    width: int

    def __init__(self) -> None:
        self._last = b""
        self._ended = False

    def feed(self, block: bytes, /) -> None:
        """Take in the next block."""
        self._check_open()
        for record in records_of(block, self.width):
            if record < self._last:
                raise ValueError("the records are not in order")
            self._add(record)
            self._last = record

    def _add(self, record: bytes) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        self._check_open()
        self._ended = True

    def _check_open(self) -> None:
        if self._ended:
            raise ValueError("this fold has ended")


class ReferenceGaps(InOrder):
    """Folds the times of pairs; the contract is `mockexport.sorting.contract.Gaps`."""

    width = GAPS_WIDTH

    def __init__(self) -> None:
        super().__init__()
        self._pairs: dict[int, PairTimes] = {}

    def _add(self, record: bytes) -> None:
        number, time = time_of(record)
        if number not in self._pairs:
            self._pairs[number] = PairTimes(1, 0, 0, time)
            return
        records, duplicates, longest, start = self._pairs[number]
        before = time_of(self._last)[1]
        if time - before > longest:
            longest, start = time - before, before
        self._pairs[number] = PairTimes(records + 1, duplicates + (time == before), longest, start)

    def finish(self) -> dict[int, PairTimes]:
        """Return the times by the number of the pair."""
        self._end()
        return self._pairs


class ReferenceDistinct(InOrder):
    """Folds keys and their places; the contract is `mockexport.sorting.contract.Distinct`."""

    width = DISTINCT_WIDTH

    def __init__(self) -> None:
        super().__init__()
        self._keys = 0
        self._key = b""
        self._first = self._first_here = (0, 0)  # the first place of the key in all, and in its present download
        self._within = Repeats()
        self._across = Repeats()

    def _add(self, record: bytes) -> None:
        key, place = record[:KEY_BYTES], place_of(record)
        if key != self._key:
            self._keys += 1
            self._key, self._first, self._first_here = key, place, place
        elif place[0] != self._first_here[0]:
            self._across.add(place, self._first)
            self._first_here = place
        else:
            self._within.add(place, self._first_here)

    def finish(self) -> DistinctKeys:
        """Return what was found."""
        self._end()
        within, across = self._within, self._across
        return DistinctKeys(self._keys, dict(within.counts), dict(across.counts), within.first(), across.first())


class Repeats:
    """The repeats of one kind: how many by download, and the first places."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self._places: list[Repeat] = []

    def add(self, place: tuple[int, int], first: tuple[int, int]) -> None:
        self.counts[place[0]] += 1
        self._places.append(Repeat(*place, *first))
        if len(self._places) > 100 * FIRST_REPEATS:  # now and then, so that few are kept
            self._places = list(self.first())

    def first(self) -> tuple[Repeat, ...]:
        return tuple(nsmallest(FIRST_REPEATS, self._places))


def place_of(record: bytes) -> tuple[int, int]:
    """Return the number of the download, and the line."""
    line = KEY_BYTES + DOWNLOAD_BYTES
    return int.from_bytes(record[KEY_BYTES:line], "big"), int.from_bytes(record[line:], "big")
