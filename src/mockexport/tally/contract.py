"""The contract of accumulators, and of the two tallies: the same counts, or the same error, however the bytes are cut.

An accumulator folds the bytes of one body into a result; results add up, in whatever order and grouping. So downloads,
splits of one and what a checkpoint keeps are accumulated one by one, and their results are added.

The rules for rows, and the names of the reasons, are those of docs/wire.md ("Bad data"). How each rule is applied:

- A row ends at an LF outside quotes, or at the end of the body; one CR before that belongs to the line end.
- An empty line between rows is no row. A UTF-8 byte order mark at the very start is no data.
- A quote may open a field, and is doubled inside it; anywhere else it makes the row malformed, and that row then ends
  at the next LF. A quote that is never closed takes in all that follows.
- A row that is wrong in several ways is counted under the first reason in the order of `REASONS`.
- A line number is the line of the body, from 1, on which the row starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar

from mockexport.errors import Remedy
from mockexport.model import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

Columns: TypeAlias = tuple[bytes, bytes | None, bytes, bytes | None]
"""The names of the columns of patient, time, type and value; None for one that the header need not have."""

AllColumns: TypeAlias = tuple[bytes, bytes, bytes, bytes]
"""The names of the columns of patient, time, type and value, all of which the header must have."""

__all__ = [
    "COLUMNS",
    "MAX_PAIRS",
    "MAX_ROW_BYTES",
    "PAIR_BYTES",
    "REASONS",
    "Accumulator",
    "AccumulatorSpec",
    "AllColumns",
    "Columns",
    "Malformed",
    "Result",
    "Tally",
    "TooManyPairs",
    "header_problem",
    "pairs_too_large",
    "too_long",
    "too_many_pairs",
]

COLUMNS = (b"patient_id", b"event_time", b"event_type", b"value")
"""The columns that a header must name by default, once each, in whatever order, among others."""

REASONS = (
    "bad quote",
    "too few fields",
    "too many fields",
    "empty patient_id",
    "empty event_type",
    "patient_id is not UTF-8",
    "event_type is not UTF-8",
)
"""Why a row is malformed, in the order in which it is judged."""

MAX_ROW_BYTES = 1 << 20
"""The longest row that is taken in; a longer one (a body without line ends, say) ends the tally."""

MAX_PAIRS = 10_000_000
"""How many distinct pairs of patient and type are counted by default; 7 GB at the most (docs/reliability.md)."""

PAIR_BYTES = 256
"""How many bytes the fields of all pairs may have, for each pair that the limit allows."""


class Malformed(Exception):  # noqa: N818 - it names a state of the data, and is always turned into UntrustedDataError
    """A body that cannot be counted: the line, from 1, and the reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"

    @property
    def remedy(self) -> Remedy | None:
        """What lets the body be counted all the same: rows with one of the `REASONS` can be left out."""
        return Remedy.SKIP_MALFORMED if self.reason in REASONS else None


class TooManyPairs(Malformed):
    """A body with more distinct pairs than the limit, or longer ones."""

    @property
    def remedy(self) -> Remedy:
        """A higher limit."""
        return Remedy.MAX_PAIRS


class Result(Protocol):
    """What accumulators give: results add up, and the order and grouping change nothing (a commutative monoid)."""

    def __add__(self, other: Self, /) -> Self: ...


R_co = TypeVar("R_co", bound=Result, covariant=True)


class Accumulator(Protocol[R_co]):
    """Folds the bytes of one body into a result, as they arrive.

    After an error, and after `finish`, it is of no further use: it raises ValueError.
    """

    @property
    def rows(self) -> int:
        """Rows read so far, malformed ones included, the header not."""

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end at a row boundary, that of the header at the least."""

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes, cut anywhere. Raises Malformed."""

    def finish(self) -> R_co:
        """Say that the body has ended, and return the result. Raises Malformed."""


class AccumulatorSpec(Protocol[R_co]):
    """What makes accumulators, as a small value that can be pickled; each process makes its own from it."""

    @property
    def lf_ends_row(self) -> bool:
        """Whether every LF ends a row, and there is no header: then a split may begin behind any LF."""

    def new(self) -> Accumulator[R_co]:
        """Make an accumulator for one body."""

    def without_skip(self) -> Self:
        """Return the same specification, but a malformed row is always an error; splits find a row boundary with it."""

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel, that of another machine."""


class Tally(Accumulator[Counts], Protocol):
    """Counts the records of one CSV body by patient and type, as its bytes arrive.

    `skip` says what a malformed row does: it is left out and counted by reason, or (the default) it ends the tally.
    `columns` are those that the header must name, and `delimiter` is the byte between fields.
    A missing or doubled column, an empty body, a row longer than `max_row_bytes`, and a row whose pair of patient and
    type is one more than `max_pairs` distinct ones, or takes them past `PAIR_BYTES` each on average, always end it.
    After an error, and after `finish`, the tally is of no further use: it raises ValueError.
    """

    def __init__(
        self,
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_ROW_BYTES,
        max_pairs: int = MAX_PAIRS,
        columns: Columns = COLUMNS,
        delimiter: bytes = b",",
    ) -> None: ...


def header_problem(times: Mapping[bytes, int]) -> str | None:
    """Judge a header by how often it names each column that it must have; None when it is sound."""
    for column, found in times.items():
        name = column.decode(errors="backslashreplace")
        if found == 0:
            return f"no column {name} in the header"
        if found > 1:
            return f"column {name} stands twice in the header"
    return None


def too_long(limit: int) -> str:
    """Name the problem of a row of more than `limit` bytes."""
    return f"row longer than {limit} bytes"


def too_many_pairs(limit: int) -> str:
    """Name the problem of more than `limit` distinct pairs."""
    return f"more than {limit:,} distinct pairs of patient and type"


def pairs_too_large(limit: int) -> str:
    """Name the problem of pairs that are too long for a limit of `limit` distinct ones."""
    return (
        f"more than {limit * PAIR_BYTES:,} bytes in the distinct pairs of patient and type ({PAIR_BYTES} for each pair)"
    )
