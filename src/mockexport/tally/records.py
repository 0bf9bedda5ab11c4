"""The records of a CSV body one by one, for what needs more of them than their numbers.

A body is taken in, or refused with the same line and reason, as a tally does that leaves no row out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mockexport.tally.contract import COLUMNS, MAX_ROW_BYTES, Malformed, header_problem, too_long
from mockexport.tally.header import CSV, find_delimiter
from mockexport.tally.reference import BYTE_ORDER_MARK, key_problem, scan_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.tally.header import CsvFormat
    from mockexport.tally.reference import Row

__all__ = ["CsvRecords", "Record"]


class Record(NamedTuple):
    """A row: time and value as they are written, which may be anything; empty where there is no such column."""

    patient: str
    time: bytes
    event_type: str
    value: bytes


class CsvRecords:
    """Reads the records of one CSV body, as its bytes arrive; `csv` is how it is written.

    After an error, and after `finish`, it is of no further use.
    """

    def __init__(self, csv: CsvFormat = CSV) -> None:
        self.rows = 0
        self._csv = csv
        self._delimiter = b""  # until the header has told
        self._columns: tuple[int, ...] = ()  # where patient, time, type and value stand; -1 for none
        self._width = 0
        self._carry = b""  # begins where a row begins, and holds no whole row
        self._line = 1  # the line on which the carry begins

    def feed(self, chunk: bytes, /) -> Iterator[Record]:
        """Yield the records that end in the next bytes, cut anywhere; take all of them. Raises Malformed."""
        data = self._carry + chunk
        if not self._delimiter and not self._begin(data, last=False):
            self._carry = data
            return
        yield from self._records(data if self._width else data.removeprefix(BYTE_ORDER_MARK), last=False)
        if len(self._carry) > MAX_ROW_BYTES:
            raise Malformed(self._line, too_long(MAX_ROW_BYTES))

    def finish(self) -> Iterator[Record]:
        """Yield the record at the end of the body, if the last row has no line end. Raises Malformed."""
        if not self._delimiter:
            self._begin(self._carry, last=True)
            self._carry = self._carry.removeprefix(BYTE_ORDER_MARK)
        yield from self._records(self._carry, last=True)
        if not self._width:
            raise Malformed(1, "empty body")

    def _begin(self, head: bytes, *, last: bool) -> bool:
        """Find the delimiter; tell whether the bytes so far are enough for that."""
        found = find_delimiter(head, self._csv, MAX_ROW_BYTES, last=last or len(head) > MAX_ROW_BYTES)
        self._delimiter = found or b""
        return found is not None

    def _records(self, data: bytes, *, last: bool) -> Iterator[Record]:
        for row, size, line_feeds in self._rows(data, last=last):
            if size > MAX_ROW_BYTES:
                raise Malformed(self._line, too_long(MAX_ROW_BYTES))
            if row != [b""] or size > 1:  # an empty line (CR at the most) is no row
                if self._width:
                    self.rows += 1
                    yield self._record(row)
                else:
                    self._take_header(row)
            self._line += line_feeds

    def _rows(self, data: bytes, *, last: bool) -> Iterator[tuple[Row, int, int]]:
        """Yield each row, its size, and how many line feeds it has with the one behind it; keep what is not whole."""
        if b'"' not in data:
            lines = data.split(b"\n")
            self._carry = lines.pop()
            if last and self._carry:
                lines.append(self._carry)
            for line in lines:
                yield line.removesuffix(b"\r").split(self._delimiter), len(line), 1
            return
        at = 0
        while at < len(data):
            row, end = scan_row(data, at, self._delimiter)
            if end == len(data) and not last:
                break
            yield row, end - at, data.count(b"\n", at, end + 1)
            at = end + 1
        self._carry = data[at:]

    def _take_header(self, names: Row) -> None:
        if isinstance(names, str):
            raise Malformed(self._line, names)
        wanted = self._csv.columns
        if problem := header_problem({column: names.count(column) for column in wanted if column is not None}):
            raise Malformed(self._line, problem)
        columns = [given or usual for given, usual in zip(wanted, COLUMNS, strict=True)]
        self._columns = tuple(names.index(column) if names.count(column) == 1 else -1 for column in columns)
        self._width = len(names)

    def _record(self, row: Row) -> Record:
        if isinstance(row, str):
            raise Malformed(self._line, row)
        if len(row) != self._width:
            raise Malformed(self._line, "too few fields" if len(row) < self._width else "too many fields")
        patient, time, event_type, value = (row[column] if column >= 0 else b"" for column in self._columns)
        if problem := key_problem(patient, event_type):
            raise Malformed(self._line, problem)
        return Record(patient.decode(), time, event_type.decode(), value)
