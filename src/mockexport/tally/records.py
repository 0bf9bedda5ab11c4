"""The records of a CSV body one by one, for what needs more of them than their numbers.

A body is taken in, or refused with the same line and reason, as a tally does that leaves no row out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from mockexport.tally.contract import COLUMNS, MAX_ROW_BYTES, Malformed, header_problem, too_long
from mockexport.tally.header import CSV, find_delimiter
from mockexport.tally.reference import BYTE_ORDER_MARK, key_problem, scan_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.tally.contract import Columns
    from mockexport.tally.header import CsvFormat
    from mockexport.tally.reference import Row

__all__ = ["CsvRecords", "Record", "RecordReader"]

LINES_KEPT = 10  # of the rows that are left out, by reason


class Record(NamedTuple):
    """A row: time and value as they are written, which may be anything; empty where there is no such column."""

    patient: str
    time: bytes
    event_type: str
    value: bytes


class RecordReader:
    """Reads the records of one CSV body, as its bytes arrive.

    `columns` are those that the header must have, `delimiter` the byte between fields. With `skip`, a malformed row is
    left out and counted by reason in `left_out`. After an error, and after `finish`, it is of no further use.

    While a record is looked at, `line` is the one on which it begins, and `fields` are all of its row.
    """

    def __init__(
        self,
        columns: Columns = COLUMNS,
        delimiter: bytes = b",",
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        self.rows = 0
        self.line = 1  # on which the next row begins
        self.fields: list[bytes] = []
        self.left_out: Counter[str] = Counter()
        self.first_left_out: dict[str, list[int]] = {}  # by reason, the lines of the first ones
        self._wanted = columns
        self._delimiter = delimiter
        self._skip = skip
        self._max_row_bytes = max_row_bytes
        self._columns: tuple[int, ...] = ()  # where patient, time, type and value stand; -1 for none
        self._width = 0
        self._carry = b""  # begins where a row begins, and holds no whole row
        self._at_start = True

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._width > 0 and not self._carry

    def feed(self, chunk: bytes, /) -> Iterator[Record]:
        """Yield the records that end in the next bytes, cut anywhere; take all of them. Raises Malformed."""
        data = self._carry + chunk
        if self._at_start:
            self._at_start = len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data)
            data = data.removeprefix(BYTE_ORDER_MARK)
        self._carry = data
        if self._at_start:
            return
        yield from self._records(data, last=False)
        if len(self._carry) > self._max_row_bytes:
            raise Malformed(self.line, too_long(self._max_row_bytes))

    def finish(self) -> Iterator[Record]:
        """Yield the record at the end of the body, if the last row has no line end. Raises Malformed."""
        yield from self._records(self._carry, last=True)
        if not self._width:
            raise Malformed(1, "empty body")

    def _records(self, data: bytes, *, last: bool) -> Iterator[Record]:
        for row, size, line_feeds in self._rows(data, last=last):
            if size > self._max_row_bytes:
                raise Malformed(self.line, too_long(self._max_row_bytes))
            if row != [b""] or size > 1:  # an empty line (CR at the most) is no row
                if not self._width:
                    self._take_header(row)
                elif record := self._record(row):
                    yield record
            self.line += line_feeds

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
            raise Malformed(self.line, names)
        wanted = self._wanted
        if problem := header_problem({column: names.count(column) for column in wanted if column is not None}):
            raise Malformed(self.line, problem)
        columns = [given or usual for given, usual in zip(wanted, COLUMNS, strict=True)]
        self._columns = tuple(names.index(column) if names.count(column) == 1 else -1 for column in columns)
        self._width = len(names)

    def _record(self, row: Row) -> Record | None:
        """Return the record of a row, None for one that is left out."""
        self.rows += 1
        if isinstance(row, str):
            self._leave_out(row)
        elif problem := self._problem(row):
            self._leave_out(problem)
        else:
            self.fields = row
            patient, time, event_type, value = (row[column] if column >= 0 else b"" for column in self._columns)
            return Record(patient.decode(), time, event_type.decode(), value)
        return None

    def _leave_out(self, reason: str) -> None:
        if not self._skip:
            raise Malformed(self.line, reason)
        self.left_out[reason] += 1
        if self.left_out[reason] <= LINES_KEPT:
            self.first_left_out.setdefault(reason, []).append(self.line)

    def _problem(self, row: list[bytes]) -> str | None:
        if len(row) != self._width:
            return "too few fields" if len(row) < self._width else "too many fields"
        patient, _, event_type, _ = self._columns
        return key_problem(row[patient], row[event_type])


class CsvRecords:
    """Reads the records of one CSV body, as its bytes arrive; `csv` is how it is written.

    After an error, and after `finish`, it is of no further use.
    """

    def __init__(self, csv: CsvFormat = CSV) -> None:
        self._how = csv.columns, csv.delimiter, MAX_ROW_BYTES
        self._head = b""  # until it has told the delimiter
        self._reader: RecordReader | None = None

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows if self._reader else 0

    def feed(self, chunk: bytes, /) -> Iterator[Record]:
        """Yield the records that end in the next bytes, cut anywhere; take all of them. Raises Malformed."""
        if self._reader:
            yield from self._reader.feed(chunk)
        elif reader := self._begin(self._head + chunk, last=False):
            yield from reader.feed(self._head)

    def finish(self) -> Iterator[Record]:
        """Yield the record at the end of the body, if the last row has no line end. Raises Malformed."""
        if not self._reader and (reader := self._begin(self._head, last=True)):
            yield from reader.feed(self._head)
        if self._reader:
            yield from self._reader.finish()

    def _begin(self, head: bytes, *, last: bool) -> RecordReader | None:
        """Begin, if the bytes so far are enough to find the delimiter."""
        self._head = head
        delimiter = find_delimiter(head, *self._how, last=last or len(head) > MAX_ROW_BYTES)
        if delimiter is not None:
            self._reader = RecordReader(self._how[0], delimiter)
        return self._reader
