"""CSV as it comes: the names of the columns that are counted by, and the delimiter, which the header tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from mockexport.errors import Remedy, UsageError
from mockexport.tally.contract import COLUMNS, Columns, Malformed, header_problem
from mockexport.tally.reference import BYTE_ORDER_MARK, scan_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.model import Counts
    from mockexport.tally.contract import Tally

__all__ = ["CSV", "DELIMITERS", "CsvFormat", "HeaderFirst", "find_delimiter"]

DELIMITERS = (",", ";", "\t", "|")
"""What may be between fields, in the order in which a header is tried."""

CACHED_BYTES = 4096  # all downloads of an export have the same header
DATA = re.compile(rb"[-+.]?[0-9]|$")  # a number, a time, nothing: not how the name of a column begins
NAMES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How a CSV file is written: the names of the columns by which its records are counted, and its delimiter.

    Without names, the header must have the columns of an export (docs/wire.md). With one or both, it must have these
    two, and no other. Without a delimiter, it is the first of `DELIMITERS` with which the header has its columns.
    Raises UsageError for two equal names, and for another delimiter.
    """

    patient_column: str | None = None
    type_column: str | None = None
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and self.delimiter not in DELIMITERS:
            raise UsageError(f"the delimiter {self.delimiter!r} is not one of , ; | and a tab")
        patient, _, event_type, _ = self.columns
        if patient == event_type:
            raise UsageError(f"patients and types cannot both be in the column {patient.decode()!r}")

    @property
    def columns(self) -> Columns:
        """The columns that a header must have."""
        patient, time, event_type, value = COLUMNS
        if self.patient_column is None and self.type_column is None:
            return patient, time, event_type, value
        named = [name if given is None else given.encode(errors="surrogateescape")
                 for given, name in ((self.patient_column, patient), (self.type_column, event_type))]  # fmt: skip
        return named[0], None, named[1], None


CSV = CsvFormat()
"""The format of an export's CSV, whatever its delimiter."""


class WrongHeader(Malformed):
    """A header without a column that it must have."""

    @property
    def remedy(self) -> Remedy:
        """The names of the columns, if they are other ones."""
        return Remedy.COLUMNS


class HeaderFirst:
    """A tally of a CSV body that begins once the header has told the delimiter; the contract is `Accumulator`.

    What it finds does not depend on where the bytes are cut: each delimiter is tried on a whole row, in order. A header
    that does not end within the first `limit` bytes is left to the tally.
    """

    def __init__(self, csv: CsvFormat, limit: int, new_tally: Callable[[bytes], Tally]) -> None:
        self._csv = csv
        self._limit = limit
        self._new_tally = new_tally
        self._head: bytes | None = b""  # None once it was read
        self._tally: Tally | None = None

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._tally.rows if self._tally else 0

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end at a row boundary."""
        return self._tally is not None and self._tally.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        if self._tally is None:
            self._begin(chunk, last=False)
        else:
            self._tally.feed(chunk)

    def finish(self) -> Counts:
        """End the body, and return what was counted."""
        if self._tally is None:
            self._begin(b"", last=True)
        return cast("Tally", self._tally).finish()

    def _begin(self, chunk: bytes, *, last: bool) -> None:
        """Begin the tally if the bytes so far are enough to know how, and feed them to it."""
        if self._head is None:
            raise ValueError("this tally has ended")
        head, self._head = self._head + chunk, None
        last = last or len(head) > self._limit
        line = head[: head.find(b"\n") + 1]
        delimiter = _delimiter_of_line(line, self._csv, self._limit) if 0 < len(line) <= CACHED_BYTES else None
        delimiter = delimiter or find_delimiter(head, self._csv, self._limit, last=last)
        if delimiter is None:
            self._head = head
            return
        self._tally = self._new_tally(delimiter)
        self._tally.feed(head)


def find_delimiter(head: bytes, csv: CsvFormat, limit: int, *, last: bool) -> bytes | None:
    """Return the delimiter of a body that begins so; None when more bytes are needed to know.

    Raises WrongHeader for a header that lacks a column. A body that is wrong otherwise is left to the tally.
    """
    start = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    line = 1
    while head.startswith((b"\n", b"\r\n"), start):  # an empty line is no header
        start = head.index(b"\n", start) + 1
        line += 1
    delimiters = [text.encode() for text in ([csv.delimiter] if csv.delimiter else DELIMITERS)]
    wanted = [column for column in csv.columns if column is not None]
    best, closest = delimiters[0], list[bytes]()  # of the header with the most columns
    for delimiter in delimiters:
        row, end = scan_row(head, start, delimiter)
        if end == len(head) and not last:
            return None
        if isinstance(row, str) or row == [b""] or end > limit:
            continue
        if all(row.count(column) == 1 for column in wanted):
            return delimiter
        if len(row) > len(closest):
            best, closest = delimiter, row
    missing = [column for column in wanted if column not in closest]
    if closest and missing:
        raise WrongHeader(line, _describe(missing[0], closest))
    return best


@lru_cache(16)
def _delimiter_of_line(line: bytes, csv: CsvFormat, limit: int) -> bytes | None:
    """Return the delimiter of a body with this first line; None where that line alone does not tell it."""
    return find_delimiter(line, csv, limit, last=False)


def _describe(missing: bytes, names: list[bytes]) -> str:
    problem = header_problem({missing: 0})
    if any(DATA.match(name) for name in names):  # of a patient, perhaps, so it is not shown
        return f"{problem}; the first line looks like data"
    shown = ", ".join(name.decode(errors="backslashreplace") for name in names[:NAMES_SHOWN])
    return f"{problem}, which has {shown}{', …' if len(names) > NAMES_SHOWN else ''}"
