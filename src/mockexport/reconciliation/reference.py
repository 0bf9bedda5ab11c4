"""The keys of the records of CSV in plain Python: the reference for the native accumulator, written to be read."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from mockexport.reconciliation.contract import FIRST_PLACES, KEY_BYTES, Lines, RecordFacts
from mockexport.sorting import distinct_record
from mockexport.stats import parse_event_time
from mockexport.tally import COLUMNS, MAX_ROW_BYTES, RecordReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.tally import Columns, Record

__all__ = ["FactsBuilder", "ReferenceCsvKeys", "record_key"]


def record_key(key: bytes, data: bytes) -> bytes:
    """Hash some bytes with the key of the run; the contract is `mockexport.reconciliation.contract.RecordKey`."""
    return blake2b(data, digest_size=KEY_BYTES, key=key).digest()


class ReferenceCsvKeys:
    """The facts and keys of one CSV body; the contract is `mockexport.reconciliation.contract.CsvRecordKeys`."""

    def __init__(
        self,
        *,
        key: bytes,
        download: int = 0,
        begin: int | None = None,
        end: int | None = None,
        columns: Columns = COLUMNS,
        delimiter: bytes = b",",
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        self._reader = RecordReader(columns, delimiter, skip=True, max_row_bytes=max_row_bytes)
        self._facts = FactsBuilder(begin, end)
        self._has_times = columns[1] is not None
        self._key = key
        self._download = download
        self._delimiter = delimiter
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

    def finish(self) -> RecordFacts:
        """End the body, and return its facts."""
        self._end()
        self._take(self._reader.finish())
        first = self._reader.first_left_out
        return self._facts.built(
            {reason: Lines(rows, tuple(first[reason])) for reason, rows in self._reader.left_out.items()}
        )

    def take_records(self) -> bytes:
        """Return the records since the last call."""
        records, self._records = self._records, []
        return b"".join(records)

    def take_ids(self) -> bytes:
        """Return nothing: rows have no ids."""
        return b""

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this accumulator has ended")
        self._ended = True

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            line = self._reader.line
            key = record_key(self._key, canonical(self._reader.fields, self._delimiter))
            self._records.append(distinct_record(key, self._download, line))
            self._facts.add(parse_event_time(record.time) if self._has_times else None, line)


def canonical(fields: Sequence[bytes], delimiter: bytes) -> bytes:
    """Write a row in the one way by which equal rows are equal bytes."""
    return delimiter.join(
        b'"%s"' % field.replace(b'"', b'""') if delimiter in field or b'"' in field or b"\n" in field else field
        for field in fields
    )


class FactsBuilder:
    """The facts of a body as they grow; a time before `begin` or after `end` is outside the window."""

    def __init__(self, begin: int | None, end: int | None) -> None:
        self._begin, self._end = begin, end
        self._first: int | None = None
        self._last: int | None = None
        self._no_time = 0
        self._before, self._after, self._subsetted = (LinesBuilder() for _ in range(3))

    def add(self, time: int | None, line: int, *, subsetted: bool = False) -> None:
        """Add a sound row."""
        if subsetted:
            self._subsetted.add(line)
        if time is None:
            self._no_time += 1
            return
        self._first = time if self._first is None else min(self._first, time)
        self._last = time if self._last is None else max(self._last, time)
        if self._begin is not None and time < self._begin:
            self._before.add(line)
        if self._end is not None and time > self._end:
            self._after.add(line)

    def built(self, malformed: dict[str, Lines]) -> RecordFacts:
        """Return the facts, with the rows that were left out."""
        return RecordFacts(
            self._first,
            self._last,
            self._no_time,
            self._before.built(),
            self._after.built(),
            self._subsetted.built(),
            dict(sorted(malformed.items())),
        )


class LinesBuilder:
    """`Lines` as they grow."""

    def __init__(self) -> None:
        self._rows = 0
        self._first: list[int] = []

    def add(self, line: int) -> None:
        """Add a row; lines ascend."""
        self._rows += 1
        if self._rows <= FIRST_PLACES:
            self._first.append(line)

    def built(self) -> Lines:
        """Return them."""
        return Lines(self._rows, tuple(self._first))
