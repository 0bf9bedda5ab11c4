"""The tally in plain Python: the reference for the native one, written to be read.

Most bodies hold neither quotes nor mistakes, so rows are first counted a block at a time, on the supposition that
every one of them is sound (`_count_block`). Where that turns out wrong, nothing of the block has been counted yet,
and it is read row by row (`_count_rows`).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from mockexport.model import Counts
from mockexport.tally.contract import (
    COLUMNS,
    MAX_PAIRS,
    MAX_ROW_BYTES,
    PAIR_BYTES,
    Malformed,
    TooManyPairs,
    header_problem,
    pairs_too_large,
    too_long,
    too_many_pairs,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from mockexport.tally.contract import Columns

__all__ = ["ReferenceTally"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 1 << 18

Pair = tuple[bytes, bytes]
Row = list[bytes] | str
"""The fields of a row, or the reason why it has none."""


class ReferenceTally:
    """Counts the records of one CSV body; the contract is `mockexport.tally.contract.Tally`."""

    def __init__(
        self,
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        max_pairs: int = MAX_PAIRS,
        columns: Columns = COLUMNS,
        delimiter: bytes = b",",
    ) -> None:
        if delimiter in b'"\r\n':
            raise ValueError("delimiter must not be a quote or a line end")
        self.rows = 0
        self._wanted = columns
        self._delimiter = delimiter
        self._skip = skip
        self._max_row_bytes = max_row_bytes
        self._max_pairs = max_pairs
        self._pairs: Counter[Pair] = Counter()
        self._pair_bytes = 0  # in the fields of all pairs
        self._left_out: Counter[str] = Counter()
        self._carry = b""  # begins where a row begins, and holds no whole row
        self._line = 1  # the line on which the carry begins
        self._at_start = True
        self._ended = False
        self._columns = 0  # 0 until the header has come
        self._patient = self._type = 0

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._columns > 0 and not self._carry

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        data = self._carry + bytes(chunk)
        self._end()
        if self._at_start:
            self._at_start = len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data)
            data = data.removeprefix(BYTE_ORDER_MARK)
        self._carry = data if self._at_start else self._count(data, last=False)
        if len(self._carry) > self._max_row_bytes and not self._at_start:
            raise Malformed(self._line, too_long(self._max_row_bytes))
        self._ended = False

    def finish(self) -> Counts:
        """End the body; what stands in the carry is its last row."""
        self._end()
        self._count(self._carry, last=True)
        if not self._columns:
            raise Malformed(1, "empty body")
        type_name = lru_cache(1024)(bytes.decode)  # so that a million pairs share one
        patients: dict[str, dict[str, int]] = {}
        for (patient, event_type), n in self._pairs.items():
            patients.setdefault(patient.decode(), {})[type_name(event_type)] = n
        return Counts(patients, dict(self._left_out))

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this tally has ended")
        self._ended = True

    def _count(self, data: bytes, *, last: bool) -> bytes:
        """Count the rows of `data`, which begins where a row begins; return what holds no whole row."""
        at = 0
        while at < len(data):
            end = data.rfind(b"\n", at, at + BLOCK_BYTES) + 1
            if self._columns and end and self._count_block(data[at:end]):
                at = end
                continue
            stop = end if self._columns and end else at + 1  # a header, or a row larger than a block, by itself
            while at < stop:
                row, row_end = scan_row(data, at, self._delimiter)
                if row_end == len(data) and not last:
                    return data[at:]
                self._take_row(row, row_end - at)
                self._line += data.count(b"\n", at, row_end + 1)
                at = row_end + 1
        return b""

    def _count_block(self, block: bytes) -> bool:
        """Count whole rows at a stroke, or count nothing and return False when one of them needs a closer look.

        Each row's first field gets a line feed in front as a mark. With as many fields in all as sound rows would
        have, and all marks on the fields where sound rows would begin, each row has as many fields as the header:
        a short, long or empty one would shift the marks behind it.
        """
        if b'"' in block or (len(block) > self._max_row_bytes and self._has_long_row(block)):
            return False
        text = block.replace(b"\r\n", b"\n") if b"\r" in block else block
        rows = text.count(b"\n")
        marked = self._delimiter + b"\n"
        fields = (marked + text[:-1].replace(b"\n", marked)).split(self._delimiter)[1:]
        if len(fields) != rows * self._columns:
            return False
        if b"".join(fields[:: self._columns]).count(b"\n") != rows:
            return False
        pairs = Counter(zip(fields[self._patient :: self._columns], fields[self._type :: self._columns], strict=True))
        sound = {}
        for (patient, event_type), n in pairs.items():
            key = patient.removeprefix(b"\n"), event_type.removeprefix(b"\n")
            if key_problem(*key):
                return False
            sound[key] = n
        if self._take_new(sound.keys() - self._pairs.keys()):
            return False
        self._pairs.update(sound)
        self.rows += rows
        self._line += rows
        return True

    def _take_new(self, pairs: Collection[Pair]) -> str | None:
        """Make room for pairs that are new; where they are past the limits, tell so, and nothing has changed."""
        size = sum(len(patient) + len(event_type) for patient, event_type in pairs)
        if len(self._pairs) + len(pairs) > self._max_pairs:
            return too_many_pairs(self._max_pairs)
        if self._pair_bytes + size > self._max_pairs * PAIR_BYTES:
            return pairs_too_large(self._max_pairs)
        self._pair_bytes += size
        return None

    def _has_long_row(self, block: bytes) -> bool:
        return max(map(len, block.split(b"\n"))) > self._max_row_bytes

    def _take_row(self, row: Row, size: int) -> None:
        """Count one row of `size` bytes, or say what is wrong with it."""
        if size > self._max_row_bytes:
            raise Malformed(self._line, too_long(self._max_row_bytes))
        if row == [b""] and size <= 1:  # an empty line (CR at the most)
            return
        if not self._columns:
            self._take_header(row)
            return
        self.rows += 1
        reason = self._problem(row)
        if reason is None:
            pair = row[self._patient], row[self._type]
            if pair not in self._pairs and (problem := self._take_new([pair])):  # type: ignore[list-item]
                raise TooManyPairs(self._line, problem)
            self._pairs[pair] += 1  # type: ignore[index]
        elif self._skip:
            self._left_out[reason] += 1
        else:
            raise Malformed(self._line, reason)

    def _take_header(self, names: Row) -> None:
        if isinstance(names, str):
            raise Malformed(self._line, names)
        problem = header_problem({column: names.count(column) for column in self._wanted if column is not None})
        if problem:
            raise Malformed(self._line, problem)
        self._columns = len(names)
        self._patient = names.index(self._wanted[0])
        self._type = names.index(self._wanted[2])

    def _problem(self, row: Row) -> str | None:
        if isinstance(row, str):
            return row
        if len(row) < self._columns:
            return "too few fields"
        if len(row) > self._columns:
            return "too many fields"
        return key_problem(row[self._patient], row[self._type])


def key_problem(patient: bytes, event_type: bytes) -> str | None:
    """Judge the two fields by which records are counted."""
    if not patient:
        return "empty patient_id"
    if not event_type:
        return "empty event_type"
    if not is_utf8(patient):
        return "patient_id is not UTF-8"
    if not is_utf8(event_type):
        return "event_type is not UTF-8"
    return None


def is_utf8(field: bytes) -> bool:
    """Tell whether bytes are valid UTF-8."""
    try:
        field.decode()
    except UnicodeDecodeError:
        return False
    return True


def scan_row(data: bytes, at: int, delimiter: bytes) -> tuple[Row, int]:
    """Read the row that begins at `at`; return it and the position of its line feed (or of the end of the data)."""
    field_end = plain_field_end(delimiter)
    fields: list[bytes] = []
    while True:
        if data.startswith(b'"', at):
            closing = closing_quote(data, at + 1)
            if closing < 0:
                return "bad quote", len(data)
            fields.append(data[at + 1 : closing].replace(b'""', b'"'))
            at = closing + 1
            if data.startswith(b"\r", at) and at + 1 in (len(data), data.find(b"\n", at, at + 2)):
                at += 1
        else:
            found = field_end.search(data, at)
            end = found.start() if found else len(data)
            fields.append(data[at:end] if data.startswith(delimiter, end) else data[at:end].removesuffix(b"\r"))
            at = end
        if at == len(data) or data.startswith(b"\n", at):
            return fields, at
        if not data.startswith(delimiter, at):  # text behind a closing quote, or a quote within a plain field
            end = data.find(b"\n", at)
            return "bad quote", len(data) if end < 0 else end
        at += 1


@lru_cache(8)
def plain_field_end(delimiter: bytes) -> re.Pattern[bytes]:
    """Return the pattern of what ends a field without quotes."""
    return re.compile(rb'[\n"' + re.escape(delimiter) + rb"]")


def closing_quote(data: bytes, at: int) -> int:
    """Find the quote that closes a field whose text begins at `at`; -1 when there is none."""
    while True:
        quote = data.find(b'"', at)
        if quote < 0 or not data.startswith(b'"', quote + 1):
            return quote
        at = quote + 2
