"""The contract of what works on sorted records: the same result, however the records are cut into blocks.

A block is a whole number of records. A fold takes in blocks one after the other, in order: within and between them no
record is less than the one before it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DISTINCT_WIDTH",
    "FIRST_REPEATS",
    "GAPS_WIDTH",
    "KEY_BYTES",
    "MAX_WIDTH",
    "Distinct",
    "DistinctKeys",
    "Gaps",
    "PairTimes",
    "Repeat",
    "Sort",
    "distinct_record",
    "time_of",
    "time_record",
]

MAX_WIDTH = 32
"""The widest record that is sorted, in bytes."""

Sort: TypeAlias = "Callable[[bytearray, int], None]"
"""Sorts records of a width, 1 to `MAX_WIDTH`, in place.

Raises ValueError for another width, or if the bytes are no whole number of records. Nothing else may use the bytearray
meanwhile.
"""

# ---- The times of pairs ----

TIME_RECORD = struct.Struct(">IQ")
GAPS_WIDTH = TIME_RECORD.size
EPOCH = 1 << 63  # added to a time, so that those before 1970 come first


def time_record(number: int, time: int) -> bytes:
    """Return the record of one time of a pair: the pair's number (4 bytes), the time in microseconds since 1970."""
    return TIME_RECORD.pack(number, time + EPOCH)


def time_of(record: bytes) -> tuple[int, int]:
    """Return the number of a pair and its time."""
    number, time = TIME_RECORD.unpack(record)
    return number, time - EPOCH


class PairTimes(NamedTuple):
    """The times of a pair in order: one of each of its `records`, of which `duplicates` are equal to the one before.

    `longest` is the longest time between two, in microseconds, and `start` where it begins: the earliest of equal ones.
    A single time is 0 from itself.
    """

    records: int
    duplicates: int
    longest: int
    start: int


class Gaps(Protocol):
    """Folds sorted records of `time_record` to the times of each pair."""

    def feed(self, block: bytes, /) -> None:
        """Take in the next block. Raises ValueError for half a record, and for one that is out of order."""

    def finish(self) -> dict[int, PairTimes]:
        """Return the times by the number of the pair, in order. After it, ValueError for any use."""


# ---- Distinct keys ----

KEY_BYTES, DOWNLOAD_BYTES, LINE_BYTES = 16, 3, 5
DISTINCT_WIDTH = KEY_BYTES + DOWNLOAD_BYTES + LINE_BYTES
FIRST_REPEATS = 10
"""How many places of each kind are kept: the first ones."""


def distinct_record(key: bytes, download: int, line: int) -> bytes:
    """Return the record of a key of 16 bytes and its place: a download's number (3 bytes) and a line (5 bytes)."""
    return key + download.to_bytes(DOWNLOAD_BYTES, "big") + line.to_bytes(LINE_BYTES, "big")


class Repeat(NamedTuple):
    """A place, and the one whose key it repeats."""

    download: int
    line: int
    first_download: int
    first_line: int


@dataclass(frozen=True, slots=True)
class DistinctKeys:
    """How often keys are there again; `within` and `across` count by download, those with none left out.

    `within` counts a record whose key was in its download before: it repeats the first place of the key there.
    `across` counts a key once in each download but the first that has it: its first place there repeats the first of
    all. Of each kind, the first `FIRST_REPEATS` places by download and line are kept.
    """

    keys: int = 0
    within: Mapping[int, int] = field(default_factory=dict)
    across: Mapping[int, int] = field(default_factory=dict)
    first_within: tuple[Repeat, ...] = ()
    first_across: tuple[Repeat, ...] = ()


class Distinct(Protocol):
    """Folds sorted records of `distinct_record` to the number of distinct keys, and the repeats."""

    def feed(self, block: bytes, /) -> None:
        """Take in the next block. Raises ValueError for half a record, and for one that is out of order."""

    def finish(self) -> DistinctKeys:
        """Return what was found. After it, ValueError for any use."""
