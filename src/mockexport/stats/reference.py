"""The statistics of CSV in plain Python: the reference for the native accumulator, written to be read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mockexport.stats.contract import MAX_STATS_PAIRS
from mockexport.stats.numbers import order, parse_number
from mockexport.stats.result import Pair, PairStats, Segment, Stats, ValuesSum
from mockexport.stats.times import parse_event_time
from mockexport.tally import (
    MAX_ROW_BYTES,
    PAIR_BYTES,
    RecordReader,
    TooManyPairs,
    pairs_too_large,
    too_many_pairs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from mockexport.stats.contract import Ranges
    from mockexport.stats.numbers import Number
    from mockexport.tally import AllColumns, Record

__all__ = ["PairBuilder", "Pairs", "ReferenceStats"]

REASON_BYTES = 2  # of a reason in place of a patient, as the tally of FHIR has it
VALUES_AT_A_TIME = 1024  # new distinct ones, between two looks whether they are too many


class ReferenceStats:
    """The statistics of one CSV body; the contract is `mockexport.stats.contract.StatsAccumulator`."""

    def __init__(
        self,
        *,
        columns: AllColumns,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        max_pairs: int = MAX_STATS_PAIRS,
        delimiter: bytes = b",",
    ) -> None:
        self._reader = RecordReader(columns, delimiter, skip=skip, max_row_bytes=max_row_bytes)
        self._pairs = Pairs(ranges, now, max_pairs)
        self._ended = False

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._end()
        self._take(self._reader.feed(bytes(chunk)))
        self._ended = False

    def finish(self) -> Stats:
        """End the body, and return its statistics."""
        self._end()
        self._take(self._reader.finish())
        return Stats(self._pairs.built(), dict(self._reader.left_out))

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this accumulator has ended")
        self._ended = True

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            self._pairs.add(
                (record.patient, record.event_type),
                parse_number(record.value),
                parse_event_time(record.time),
                self._reader.line,
            )


class Pairs:
    """The statistics of all pairs of a body, as they grow."""

    def __init__(self, ranges: Ranges, now: int, max_pairs: int) -> None:
        self._ranges = ranges
        self._now = now
        self._max_pairs = max_pairs
        self._pairs: dict[Pair, PairBuilder] = {}
        self._pair_bytes = 0
        self.unassigned: Counter[Pair] = Counter()

    def add(self, pair: Pair, value: Number | None, time: int | None, line: int) -> None:
        """Add a record. Raises TooManyPairs."""
        builder = self._pairs.get(pair)
        if builder is None:
            self._check(sum(len(name.encode()) for name in pair), line)
            low, high = self._ranges.get(pair[1], (None, None))
            builder = self._pairs[pair] = PairBuilder(low and order(low), high and order(high), self._now)
        builder.add(value, time)

    def add_unassigned(self, pair: Pair, line: int) -> None:
        """Count a record without a patient, by its type and the reason. Raises TooManyPairs."""
        if pair not in self.unassigned:
            self._check(REASON_BYTES + len(pair[0].encode()), line)
        self.unassigned[pair] += 1

    def built(self) -> dict[Pair, PairStats]:
        """Return the statistics."""
        return {pair: builder.built() for pair, builder in self._pairs.items()}

    def _check(self, size: int, line: int) -> None:
        self._pair_bytes += size
        if len(self._pairs) + len(self.unassigned) + 1 > self._max_pairs:
            raise TooManyPairs(line, too_many_pairs(self._max_pairs))
        if self._pair_bytes > self._max_pairs * PAIR_BYTES:
            raise TooManyPairs(line, pairs_too_large(self._max_pairs))


class PairBuilder:
    """The statistics of one pair, as they grow; `low` and `high` are its type's range."""

    def __init__(self, low: Decimal | None, high: Decimal | None, now: int) -> None:
        self._low, self._high, self._now = low, high, now
        self._records = self._not_a_number = self._not_a_time = self._anomalies = self._future = 0
        self._values = ValuesSum()
        self._new: dict[Number, int] = {}  # numbers that are not among the values yet
        self._times: TimesBuilder | None = None

    def add(self, value: Number | None, time: int | None) -> None:
        """Add a record."""
        self._records += 1
        if value is None:
            self._not_a_number += 1
        else:
            self._new[value] = self._new.get(value, 0) + 1
            if len(self._new) > VALUES_AT_A_TIME:
                self._add_new()
        if time is None:
            self._not_a_time += 1
            return
        self._future += time > self._now
        if self._times is None:
            self._times = TimesBuilder(time)
        else:
            self._times.add(time)

    def built(self) -> PairStats:
        """Return the statistics."""
        self._add_new()
        return PairStats(
            self._records,
            self._not_a_number,
            self._not_a_time,
            self._anomalies,
            self._future,
            self._values.values,
            (self._times.built(),) if self._times else (),
        )

    def _add_new(self) -> None:
        self._anomalies += sum(times for number, times in self._new.items() if self._is_anomaly(number))
        self._values.add(self._new)
        self._new = {}

    def _is_anomaly(self, number: Number) -> bool:
        place = order(number)
        return (self._low is not None and place < self._low) or (self._high is not None and place > self._high)


class TimesBuilder:
    """The times of one pair as they stand in the body, as they grow from the first one."""

    def __init__(self, first: int) -> None:
        self._first = self._last = self._low = self._high = first
        self._out_of_order = self._duplicates = self._gap = self._gap_start = 0

    def add(self, time: int) -> None:
        """Add the next time."""
        since = time - self._last
        if since < 0:
            self._out_of_order += 1
            self._low = min(self._low, time)
        elif since == 0:
            self._duplicates += 1
        else:
            self._high = max(self._high, time)
            if since > self._gap:
                self._gap, self._gap_start = since, self._last
        self._last = time

    def built(self) -> Segment:
        """Return them as a segment."""
        in_order = (0, 0, 0) if self._out_of_order else (self._duplicates, self._gap, self._gap_start)
        return Segment(0, 0, self._first, self._last, self._low, self._high, self._out_of_order, *in_order)
