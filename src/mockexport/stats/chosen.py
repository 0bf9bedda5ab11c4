"""The times of chosen pairs, as records to be sorted, in plain Python: the references for the native ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from mockexport.sorting import time_record
from mockexport.stats.fhir_reference import Measurements, measurements_of
from mockexport.stats.times import parse_event_time
from mockexport.tally import MAX_RESOURCE_BYTES, MAX_ROW_BYTES, Record, RecordReader, ResourceReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mockexport.stats.result import Pair
    from mockexport.tally import AllColumns

__all__ = ["ReferenceResourceTimes", "ReferenceTimes"]

T = TypeVar("T")
Yielded_co = TypeVar("Yielded_co", covariant=True)


class Reader(Protocol[Yielded_co]):
    """What reads a body: `RecordReader`, or `ResourceReader`."""

    rows: int

    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> Iterable[Yielded_co]: ...
    def finish(self) -> Iterable[Yielded_co]: ...


class TimesOfBody(Generic[T]):
    """The records of the times in one body, as they come; `of` makes those of what its reader yields."""

    def __init__(self, reader: Reader[T], of: Callable[[T], Iterable[bytes]]) -> None:
        self._reader = reader
        self._of = of
        self._records: list[bytes] = []
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

    def finish(self) -> None:
        """End the body."""
        self._end()
        self._take(self._reader.finish())

    def take_records(self) -> bytes:
        """Return the records since the last call; none after an error."""
        records, self._records = self._records, []
        return b"".join(records)

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this accumulator has ended")
        self._ended = True

    def _take(self, found: Iterable[T]) -> None:
        records, self._records = self._records, []  # an error leaves none
        for each in found:
            records += self._of(each)
        self._records = records


class ReferenceTimes(TimesOfBody[Record]):
    """The times of chosen pairs in one CSV body; the contract is `mockexport.stats.contract.Times`."""

    def __init__(
        self,
        *,
        columns: AllColumns,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        delimiter: bytes = b",",
    ) -> None:
        super().__init__(RecordReader(columns, delimiter, skip=skip, max_row_bytes=max_row_bytes), self._records_of)
        self._numbers = numbers

    def _records_of(self, record: Record) -> Iterable[bytes]:
        number = self._numbers.get((record.patient, record.event_type))
        if number is not None and (time := parse_event_time(record.time)) is not None:
            yield time_record(number, time)


class ReferenceResourceTimes(TimesOfBody[Measurements]):
    """The times of chosen pairs in one body of FHIR; the contract is `mockexport.stats.contract.ResourceTimes`."""

    def __init__(
        self,
        *,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        strict: bool = False,  # noqa: ARG002 - it always is
        base: str | None = None,
    ) -> None:
        reader = ResourceReader(measurements_of, skip=skip, max_row_bytes=max_row_bytes, base=base)
        super().__init__(reader, self._records_of)
        self._numbers = numbers

    def _records_of(self, resource: Measurements) -> Iterable[bytes]:
        is_patient, who, time, values = resource
        if is_patient and time is not None:
            for label, _ in values:
                if (number := self._numbers.get((who, label))) is not None:
                    yield time_record(number, time)
