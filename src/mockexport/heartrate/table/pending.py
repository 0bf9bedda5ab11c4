"""Pending readings: in the journal and not in the table yet, in memory as few frames for queries and the flusher.

Batches stay encoded as in the journal until they are used; then many are converted to one frame at once, which is
cheap. A reader of both must read this before the table: readings are in the table before they leave here.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import polars as pl

from mockexport.heartrate.table.merge import TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.heartrate.journal import Entry
    from mockexport.heartrate.readings import Readings

__all__ = ["SEQUENCES_A_BATCH", "Pending", "encode", "frame_of"]

SEQUENCES_A_BATCH = 1024
"""A reading's sequence is its batch's id times this, plus its index in the batch."""
BYTES_AT_ONCE = 700_000  # the conversion holds the GIL: more would delay the event loop noticeably
ROWS_MERGED = 1 << 18  # larger frames are not merged any more


def encode(readings: Readings) -> bytes:
    """Encode a batch for the journal: its columns as JSON."""
    return orjson.dumps({"u": readings.users, "d": readings.devices, "t": readings.times, "h": readings.rates})


def frame_of(entries: Iterable[Entry]) -> pl.DataFrame:
    """Decode batches of the journal into one frame of `merge.SCHEMA`."""
    batches: list[dict[str, list[Any]]] = []
    sequences: list[range] = []
    for entry in entries:
        batch = orjson.loads(entry.payload)
        batches.append(batch)
        first = entry.id * SEQUENCES_A_BATCH
        sequences.append(range(first, first + len(batch["t"])))
    columns = {
        "user": pl.Series([user for batch in batches for user in batch["u"]], dtype=pl.String),
        "device": pl.Series([device for batch in batches for device in batch["d"]], dtype=pl.String),
        "time": pl.Series([time for batch in batches for time in batch["t"]], dtype=pl.Int64),
        "rate": pl.Series([rate for batch in batches for rate in batch["h"]], dtype=pl.Float64, strict=False),
        "sequence": pl.Series(list(chain.from_iterable(sequences)), dtype=pl.Int64),
    }
    return pl.DataFrame(columns).cast({"time": TIME})


class _Segment(NamedTuple):
    """Consecutive batches as one frame; `last` is the id of the last of them, `size` their bytes in the journal."""

    last: int
    size: int
    frame: pl.DataFrame


class Pending:
    """The pending readings. Thread-safe. `bytes` is the size of its batches in the journal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the raw batches and `bytes`; held briefly
        self._segments_lock = threading.Lock()  # of the segments; taken first
        self._raw: deque[Entry] = deque()
        self._segments: list[_Segment] = []
        self.bytes = 0

    def add(self, entries: Sequence[Entry]) -> None:
        """Add batches that have just been written to the journal: all of them or, on an error, none."""
        size = sum(len(entry.payload) for entry in entries)
        with self._lock:
            before = len(self._raw)
            try:
                self._raw.extend(entries)
            except BaseException:  # a MemoryError
                while len(self._raw) > before:
                    self._raw.pop()
                raise
            self.bytes += size

    def frames(self) -> list[pl.DataFrame]:
        """Return all pending readings, as a few immutable frames."""
        with self._segments_lock:
            self._convert()
            return [segment.frame for segment in self._segments]

    def take(self, rows: int, through: int = 0) -> tuple[int, list[pl.DataFrame]]:
        """Return the id of the last of the oldest batches, and these as frames; they stay until dropped.

        They have at least `rows` readings, if there are as many, and include all batches up to `through`.
        """
        with self._segments_lock:
            self._convert()
            last, taken, frames = 0, 0, []
            for segment in self._segments:
                if taken >= rows and last >= through:
                    break
                last, taken = segment.last, taken + segment.frame.height
                frames.append(segment.frame)
            return last, frames

    def drop(self, position: int) -> None:
        """Drop the batches up to `position`, which the table has."""
        with self._segments_lock:
            kept = []
            for segment in self._segments:
                if segment.last <= position:
                    with self._lock:
                        self.bytes -= segment.size
                    continue
                later = pl.col("sequence") >= (position + 1) * SEQUENCES_A_BATCH
                kept.append(segment._replace(frame=segment.frame.filter(later)))
            self._segments = kept

    @property
    def readings(self) -> int:
        """The number of pending readings, of the batches that have been converted."""
        return sum(segment.frame.height for segment in self._segments)

    def _convert(self) -> None:
        """Convert the raw batches to frames, and merge small neighbours. Call it with `_segments_lock` held."""
        while self._raw:
            entries, size = self._next_raw()
            try:
                self._segments.append(_Segment(entries[-1].id, size, frame_of(entries)))
            except BaseException:  # such as a MemoryError: they are still pending
                with self._lock:
                    self._raw.extendleft(reversed(entries))
                raise
            while len(self._segments) > 1:
                left, right = self._segments[-2:]
                if left.frame.height > 2 * right.frame.height or left.frame.height + right.frame.height > ROWS_MERGED:
                    break
                merged = pl.concat([left.frame, right.frame], rechunk=True)
                self._segments[-2:] = [_Segment(right.last, left.size + right.size, merged)]

    def _next_raw(self) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        size = 0
        with self._lock:
            for entry in self._raw:
                if size >= BYTES_AT_ONCE:
                    break
                entries.append(entry)
                size += len(entry.payload)
            for _ in entries:  # only once all are in the list
                self._raw.popleft()
        return entries, size
