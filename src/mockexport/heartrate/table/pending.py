"""Pending readings: in the journal and not in the table yet, in memory as few frames for queries and the flusher.

Each stream of the journal has its own, in the order of its batches. Batches stay encoded as in the journal until they
are used; then many are converted to one frame at once, which is cheap. A reader of both must read this before the
table: readings are in the table before they leave here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from mockexport.heartrate.readings import decode
from mockexport.heartrate.table.merge import TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mockexport.heartrate.journal import Entry
    from mockexport.heartrate.readings import Readings

__all__ = ["SEQUENCES_A_BATCH", "Lag", "Pending", "Taken", "frame_of", "is_after"]

SEQUENCES_A_BATCH = 1024
"""A reading's sequence is its batch's id times this, plus its index in the batch."""
BYTES_AT_ONCE = 700_000  # the conversion holds the GIL: more would delay the event loop noticeably
ROWS_MERGED = 1 << 18  # larger frames are not merged any more


def frame_of(entries: Iterable[Entry]) -> pl.DataFrame:
    """Decode batches of the journal into one frame of `merge.SCHEMA`."""
    batches: list[Readings] = []
    sequences: list[range] = []
    for entry in entries:
        batch = decode(entry.payload)
        batches.append(batch)
        first = entry.id * SEQUENCES_A_BATCH
        sequences.append(range(first, first + len(batch)))
    columns = {
        "user": pl.Series([user for batch in batches for user in batch.users], dtype=pl.String),
        "device": pl.Series([device for batch in batches for device in batch.devices], dtype=pl.String),
        "time": pl.Series([time for batch in batches for time in batch.times], dtype=pl.Int64),
        "rate": pl.Series([rate for batch in batches for rate in batch.rates], dtype=pl.Float64, strict=False),
        "sequence": pl.Series(list(chain.from_iterable(sequences)), dtype=pl.Int64),
    }
    return pl.DataFrame(columns).cast({"time": TIME})


def is_after(position: int) -> pl.Expr:
    """Return which readings are of the batches after `position`, which is that of their stream."""
    return pl.col("sequence") >= (position + 1) * SEQUENCES_A_BATCH


class Lag(NamedTuple):
    """How much is pending: batches, and the seconds since the oldest came."""

    batches: int = 0
    seconds: float = 0.0


class Taken(NamedTuple):
    """The oldest batches of some streams: by stream, the id of the last of them, and their readings."""

    positions: dict[str, int]
    frames: dict[str, list[pl.DataFrame]]


class _Segment(NamedTuple):
    """Consecutive batches as one frame, by the ids of the first and the last; `size` is their bytes in the journal.

    `since` is when the first of them came, by `time.monotonic`.
    """

    first: int
    last: int
    size: int
    batches: int
    since: float
    frame: pl.DataFrame


class _Stream:
    """The pending batches of a stream: first the segments, then those that are not converted yet."""

    def __init__(self) -> None:
        self.segments: list[_Segment] = []
        self.raw: deque[Entry] = deque()
        self.since = 0.0  # when the first of `raw` came, or earlier


class Pending:
    """The pending readings. Thread-safe. `bytes` is the size of its batches in the journal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of the raw batches and `bytes`; held briefly
        self._segments_lock = threading.Lock()  # of the segments; taken first
        self._streams: dict[str, _Stream] = {}  # replaced when there is a new one
        self.bytes = 0

    def add(self, name: str, entries: Sequence[Entry]) -> None:
        """Add the next batches of a stream, which are in the journal: all of them or, on an error, none."""
        size = sum(len(entry.payload) for entry in entries)
        with self._lock:
            if name not in self._streams:
                self._streams = {**self._streams, name: _Stream()}
            stream = self._streams[name]
            before = len(stream.raw)
            if not before:
                stream.since = time.monotonic()
            try:
                stream.raw.extend(entries)
            except BaseException:  # a MemoryError
                while len(stream.raw) > before:
                    stream.raw.pop()
                raise
            self.bytes += size

    def frames(self) -> list[pl.DataFrame]:
        """Return all pending readings, as a few immutable frames."""
        with self._segments_lock:
            return [segment.frame for stream in self._converted().values() for segment in stream.segments]

    def take(self, rows: int, through: Mapping[str, int] | None = None) -> Taken:
        """Return the oldest batches of each stream, with about `rows` readings if there are as many.

        With `through`, return all batches up to these positions instead. They stay until they are dropped.
        """
        taken = Taken({}, {})
        with self._segments_lock:
            streams = {name: stream for name, stream in self._converted().items() if stream.segments}
            for name, stream in streams.items():
                count = last = 0
                for segment in stream.segments:
                    if last >= through.get(name, 0) if through else count >= rows // len(streams):
                        break
                    count, last = count + segment.frame.height, segment.last
                    taken.positions[name] = last
                    taken.frames.setdefault(name, []).append(segment.frame)
        return taken

    def drop(self, positions: Mapping[str, int]) -> None:
        """Drop the batches up to `positions`, which the table has."""
        with self._segments_lock:
            for name, stream in self._streams.items():
                position, kept = positions.get(name, 0), []
                for segment in stream.segments:
                    if segment.last <= position:
                        with self._lock:
                            self.bytes -= segment.size
                    elif segment.first <= position:
                        first, later = position + 1, segment.frame.filter(is_after(position))
                        kept.append(segment._replace(first=first, frame=later))
                    else:
                        kept.append(segment)
                stream.segments = kept
                with self._lock:
                    while stream.raw and stream.raw[0].id <= position:
                        self.bytes -= len(stream.raw.popleft().payload)

    @property
    def readings(self) -> int:
        """The number of pending readings, of the batches that have been converted."""
        return sum(segment.frame.height for stream in self._streams.values() for segment in stream.segments)

    def lag(self) -> Lag:
        """Return how much is pending."""
        segments = [segment for stream in self._streams.values() for segment in stream.segments]
        raw = [stream for stream in self._streams.values() if stream.raw]
        batches = sum(segment.batches for segment in segments) + sum(len(stream.raw) for stream in raw)
        since = [segment.since for segment in segments] + [stream.since for stream in raw]
        return Lag(batches, time.monotonic() - min(since) if since else 0.0)

    def _converted(self) -> dict[str, _Stream]:
        """Return the streams with all batches in segments. Call it with `_segments_lock` held."""
        streams = self._streams
        for stream in streams.values():
            while stream.raw:
                self._convert_some(stream)
        return streams

    def _convert_some(self, stream: _Stream) -> None:
        """Convert the oldest raw batches to a frame, and merge small neighbours."""
        entries, size = self._next_raw(stream)
        try:
            segment = _Segment(entries[0].id, entries[-1].id, size, len(entries), stream.since, frame_of(entries))
            stream.segments.append(segment)
        except BaseException:  # such as a MemoryError: they are still pending
            with self._lock:
                stream.raw.extendleft(reversed(entries))
            raise
        while len(stream.segments) > 1:
            left, right = stream.segments[-2:]
            if left.frame.height > 2 * right.frame.height or left.frame.height + right.frame.height > ROWS_MERGED:
                break
            merged = pl.concat([left.frame, right.frame], rechunk=True)
            size, batches = left.size + right.size, left.batches + right.batches
            stream.segments[-2:] = [_Segment(left.first, right.last, size, batches, left.since, merged)]

    def _next_raw(self, stream: _Stream) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        size = 0
        with self._lock:
            for entry in stream.raw:
                if size >= BYTES_AT_ONCE:
                    break
                entries.append(entry)
                size += len(entry.payload)
            for _ in entries:  # only once all are in the list
                stream.raw.popleft()
        return entries, size
