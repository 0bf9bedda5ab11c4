"""The times of chosen pairs, as records to be sorted: where gaps cannot be told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.sorting import time_record
from mockexport.stats.fhir_reference import measurements_of
from mockexport.stats.times import parse_event_time
from mockexport.tally import MAX_RESOURCE_BYTES, MAX_ROW_BYTES, RecordReader, ResourceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mockexport.stats.fhir_reference import Measurements
    from mockexport.stats.result import Pair
    from mockexport.tally import AllColumns, Record

__all__ = ["ReferenceResourceTimes", "ReferenceTimes"]


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


class ReferenceResourceTimes:
    """Reads the times of chosen pairs in one body of FHIR resources, as `ReferenceTimes` does in one of CSV."""

    def __init__(
        self,
        *,
        numbers: Mapping[Pair, int],
        add: Callable[[bytes], None],
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        base: str | None = None,
    ) -> None:
        self._reader = ResourceReader(measurements_of, skip=skip, max_row_bytes=max_row_bytes, base=base)
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
        self._take(self._reader.feed(chunk))

    def finish(self) -> None:
        """End the body. Raises Malformed."""
        self._take(self._reader.finish())

    def _take(self, resources: Iterable[Measurements]) -> None:
        found = []
        for is_patient, who, time, values in resources:
            if is_patient and time is not None:
                numbers = [self._numbers.get((who, label)) for label, _ in values]
                found += [time_record(number, time) for number in numbers if number is not None]
        if found:
            self._add(b"".join(found))
