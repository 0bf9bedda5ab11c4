"""The times of chosen pairs, as records to be sorted: where gaps cannot be told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.sorting import time_record
from mockexport.stats.times import parse_event_time
from mockexport.tally import MAX_ROW_BYTES, RecordReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mockexport.stats.result import Pair
    from mockexport.tally import AllColumns, Record

__all__ = ["ReferenceTimes"]


class ReferenceTimes:
    """Reads the times of chosen pairs in one CSV body; `numbers` has their numbers.

    Rows are read, and refused, as by `ReferenceStats`. `add` gets the records, each that of a pair's number and one of
    its times (`mockexport.sorting.time_record`), some at a time.
    """

    def __init__(
        self,
        *,
        columns: AllColumns,
        numbers: Mapping[Pair, int],
        add: Callable[[bytes], None],
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        delimiter: bytes = b",",
    ) -> None:
        self._reader = RecordReader(columns, delimiter, skip=skip, max_row_bytes=max_row_bytes)
        self._numbers = numbers
        self._add = add

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes. Raises Malformed."""
        self._take(self._reader.feed(bytes(chunk)))

    def finish(self) -> None:
        """End the body. Raises Malformed."""
        self._take(self._reader.finish())

    def _take(self, records: Iterable[Record]) -> None:
        found = []
        for record in records:
            number = self._numbers.get((record.patient, record.event_type))
            if number is not None and (time := parse_event_time(record.time)) is not None:
                found.append(time_record(number, time))
        if found:
            self._add(b"".join(found))
