"""CSV as it comes: the names of the columns that are counted by, and the delimiter, which the header tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Generic, TypeVar

from mockexport.errors import Remedy, UsageError
from mockexport.tally.contract import COLUMNS, Malformed, Result, header_problem
from mockexport.tally.reference import BYTE_ORDER_MARK, scan_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.tally.contract import Accumulator, AllColumns, Columns

__all__ = ["CSV", "DELIMITERS", "CsvFormat", "HeaderFirst", "find_delimiter"]

DELIMITERS = (",", ";", "\t", "|")
"""What may be between fields, in the order in which a header is tried."""

CACHED_BYTES = 4096  # all downloads of an export have the same header
DATA = re.compile(rb"[-+.]?[0-9]|$")  # a number, a time, nothing: not how the name of a column begins
NAMES_SHOWN = 12
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How a CSV file is written: the names of the columns by which its records are counted, and its delimiter.

    Without names of patient and type, the header must have the columns of an export (docs/wire.md). With one or both,
    it must have these two, and no other. Statistics need time and value, too (`all_columns`). Without a delimiter, it
    is the first of `DELIMITERS` with which the header has its columns. Raises UsageError for two equal names, and for
    another delimiter.
    """

    patient_column: str | None = None
    type_column: str | None = None
    delimiter: str | None = None
    time_column: str | None = None
    value_column: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and self.delimiter not in DELIMITERS:
            raise UsageError(f"the delimiter {self.delimiter!r} is not one of , ; | and a tab")
        patient, time, event_type, value = self.all_columns
        used = {"patients": patient, "types": event_type}
        used |= {"times": time} if self.time_column is not None else {}
        used |= {"values": value} if self.value_column is not None else {}
        for (one, name), (other, same) in combinations(used.items(), 2):
            if name == same:
                raise UsageError(f"{one} and {other} cannot both be in the column {name.decode(errors='replace')!r}")

    @property
    def columns(self) -> Columns:
        """The columns that a header must have for its records to be counted."""
        patient, _, event_type, _ = self.all_columns
        if self.patient_column is None and self.type_column is None:
            return COLUMNS
        return patient, None, event_type, None

    @property
    def all_columns(self) -> AllColumns:
        """The columns of patient, time, type and value."""
        named = (self.patient_column, self.time_column, self.type_column, self.value_column)
        patient, time, event_type, value = (
            usual if given is None else given.encode(errors="surrogateescape")
            for given, usual in zip(named, COLUMNS, strict=True)
        )
        return patient, time, event_type, value


CSV = CsvFormat()
"""The format of an export's CSV, whatever its delimiter."""


class WrongHeader(Malformed):
    """A header without a column that it must have."""

    @property
    def remedy(self) -> Remedy:
        """The names of the columns, if they are other ones."""
        return Remedy.COLUMNS


class LacksColumn(WrongHeader):
    """A header without one of four columns, each of which is needed."""

    @property
    def remedy(self) -> Remedy:
        """The names of the columns, if they are other ones."""
        return Remedy.ALL_COLUMNS


class HeaderFirst(Generic[R]):
    """An accumulator of a CSV body that begins once the header has told the delimiter; the contract is `Accumulator`.

    `new` makes it, for a delimiter; `columns` are those that the header must have. What is found does not depend on
    where the bytes are cut: each delimiter is tried on a whole row, in order. A header that does not end within the
    first `limit` bytes is left to the accumulator. With `needs_all`, what is wrong is told as to someone who can name
    all of the columns.
    """

    def __init__(
        self,
        columns: Columns,
        delimiter: str | None,
        limit: int,
        new: Callable[[bytes], Accumulator[R]],
        *,
        needs_all: bool = False,
    ) -> None:
        self._needs_all = needs_all
        self._columns = columns
        self._delimiter = delimiter
        self._limit = limit
        self._new = new
        self._head: bytes | None = b""  # None once it was read
        self._accumulator: Accumulator[R] | None = None

    @property
    def accumulator(self) -> Accumulator[R] | None:
        """What takes in the bytes, once the header has told how; None before."""
        return self._accumulator

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._accumulator.rows if self._accumulator else 0

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end at a row boundary."""
        return self._accumulator is not None and self._accumulator.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        if self._accumulator is None:
            self._accumulator = self._begin(chunk, last=False)
        else:
            self._accumulator.feed(chunk)

    def finish(self) -> R:
        """End the body, and return what came of it."""
        if self._accumulator is None:
            self._accumulator = self._begin(b"", last=True)
        assert self._accumulator  # noqa: S101 - the end of a body tells its delimiter
        return self._accumulator.finish()

    def _begin(self, chunk: bytes, *, last: bool) -> Accumulator[R] | None:
        """Begin if the bytes so far are enough to know how, and feed them."""
        if self._head is None:
            raise ValueError("this tally has ended")
        head, self._head = self._head + chunk, None
        last = last or len(head) > self._limit
        line = head[: head.find(b"\n") + 1]
        how = self._columns, self._delimiter, self._limit
        try:
            delimiter = _delimiter_of_line(line, *how) if 0 < len(line) <= CACHED_BYTES else None
            delimiter = delimiter or find_delimiter(head, *how, last=last)
        except WrongHeader as problem:
            if self._needs_all:
                raise LacksColumn(problem.line, problem.reason) from None
            raise
        if delimiter is None:
            self._head = head
            return None
        accumulator = self._new(delimiter)
        accumulator.feed(head)
        return accumulator


def find_delimiter(head: bytes, columns: Columns, delimiter: str | None, limit: int, *, last: bool) -> bytes | None:
    """Return the delimiter of a body that begins so; None when more bytes are needed to know.

    `delimiter` is the one that a user named, if any. Raises WrongHeader for a header that lacks a column. A body that
    is wrong otherwise is left to the accumulator.
    """
    start = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    line = 1
    while head.startswith((b"\n", b"\r\n"), start):  # an empty line is no header
        start = head.index(b"\n", start) + 1
        line += 1
    candidates = [text.encode() for text in ([delimiter] if delimiter else DELIMITERS)]
    wanted = [column for column in columns if column is not None]
    best, closest = candidates[0], list[bytes]()  # of the header with the most columns
    for candidate in candidates:
        row, end = scan_row(head, start, candidate)
        if end == len(head) and not last:
            return None
        if isinstance(row, str) or row == [b""] or end > limit:
            continue
        if all(row.count(column) == 1 for column in wanted):
            return candidate
        if len(row) > len(closest):
            best, closest = candidate, row
    missing = [column for column in wanted if column not in closest]
    if closest and missing:
        raise WrongHeader(line, _describe(missing[0], closest))
    return best


@lru_cache(16)
def _delimiter_of_line(line: bytes, columns: Columns, delimiter: str | None, limit: int) -> bytes | None:
    """Return the delimiter of a body with this first line; None where that line alone does not tell it."""
    return find_delimiter(line, columns, delimiter, limit, last=False)


def _describe(missing: bytes, names: list[bytes]) -> str:
    problem = header_problem({missing: 0})
    if any(DATA.match(name) for name in names):  # of a patient, perhaps, so it is not shown
        return f"{problem}; the first line looks like data"
    shown = ", ".join(name.decode(errors="backslashreplace") for name in names[:NAMES_SHOWN])
    return f"{problem}, which has {shown}{', …' if len(names) > NAMES_SHOWN else ''}"
