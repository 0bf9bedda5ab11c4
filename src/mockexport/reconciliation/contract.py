"""The contract of the accumulators that tell records apart: the same facts and keys, however the bytes are cut.

Rows are read, and refused or left out, as by the tally of their format (tally/contract.py, tally/fhir/contract.py),
FHIR with `strict`. A malformed row is left out and has no key; its reason and line are kept.

**Keys.** Each sound row gives a record of 24 bytes, all big-endian: a key of 16 bytes, the number of the download in 3,
and the line on which the row begins in 5. The key is a hash of what makes the record itself, with a random key of the
run: BLAKE2b of 16 bytes in Python, SipHash-2-4 with 128 bits in C. Keys of different kernels are never compared.

- CSV: the row without its line end. If a quote is in it, its fields are read and written again, with quotes only around
  those that hold a delimiter, a quote or an LF, and the quotes in them doubled.
- FHIR: `Type/id`, and `Type/id/_history/version` where `meta.versionId` is given; of a resource without `id` the whole
  row, without white space around it.

**Ids.** With `ids`, an accumulator of FHIR also gives records whose key is that of `Type/id`, without a version, for
each resource with an `id`: for what was deleted.

**Times.** That of a row of CSV is its event time, that of a resource `meta.lastUpdated` (`mockexport.stats.times`).

What is read of a resource beyond what the tally reads makes no row malformed. `id`, `meta`, and in it `lastUpdated`,
`versionId`, `tag` and the `code` of a tag count as absent if they stand twice in their object, are no strings (`meta`
an object, `tag` a list of objects, or one alone), are empty, or are no Unicode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from mockexport.tally import COLUMNS, MAX_RESOURCE_BYTES, MAX_ROW_BYTES, Accumulator

if TYPE_CHECKING:
    from mockexport.tally import Columns

__all__ = [
    "FIRST_PLACES",
    "KEY_BYTES",
    "NO_LINES",
    "RECORD_BYTES",
    "CsvRecordKeys",
    "Lines",
    "RecordFacts",
    "RecordKey",
    "RecordKeys",
    "ResourceKeys",
]

FIRST_PLACES = 10
"""How many places of each finding are kept."""

KEY_BYTES = 16
"""The size of a key, and that of the run's own, by which all are hashed."""

RECORD_BYTES = 24
"""The size of a record: key, download, line."""

RecordKey: TypeAlias = Callable[[bytes, bytes], bytes]
"""From the key of the run and some bytes to a key of 16 bytes: `record_key` of a kernel."""


class Lines(NamedTuple):
    """How many rows, and the lines of the first ten, ascending."""

    rows: int
    first: tuple[int, ...]

    def plus(self, other: Lines) -> Lines:
        """Return both together."""
        return Lines(self.rows + other.rows, tuple(sorted(self.first + other.first)[:FIRST_PLACES]))


NO_LINES = Lines(0, ())


@dataclass(frozen=True, slots=True)
class RecordFacts:
    """What is known of the rows of a download beyond their numbers.

    `first` and `last` are the earliest and the latest time, in microseconds since 1970; None if no row has one.
    `no_time` counts the sound rows without a time that can be read. `before` and `after` are those with a time before
    `begin` or after `end`. `subsetted` are the resources with a tag SUBSETTED in `meta`. `malformed` are the rows left
    out, by reason.
    """

    first: int | None = None
    last: int | None = None
    no_time: int = 0
    before: Lines = NO_LINES
    after: Lines = NO_LINES
    subsetted: Lines = NO_LINES
    malformed: Mapping[str, Lines] = field(default_factory=dict)

    def __add__(self, other: RecordFacts) -> RecordFacts:
        reasons = sorted(self.malformed.keys() | other.malformed.keys())
        return RecordFacts(
            min((time for time in (self.first, other.first) if time is not None), default=None),
            max((time for time in (self.last, other.last) if time is not None), default=None),
            self.no_time + other.no_time,
            self.before.plus(other.before),
            self.after.plus(other.after),
            self.subsetted.plus(other.subsetted),
            {
                reason: self.malformed.get(reason, NO_LINES).plus(other.malformed.get(reason, NO_LINES))
                for reason in reasons
            },
        )


class RecordKeys(Accumulator[RecordFacts], Protocol):
    """Folds one body into facts, and gives the records of its rows as they come.

    `key` is the 16 bytes of the run, `download` the number that each record has. A time before `begin` or after `end`,
    in microseconds since 1970, is outside the window; None is no limit. A header that lacks a column, an empty body of
    CSV and a row that is too long raise Malformed, as in the tally; in NDJSON a row that is too long is left out.
    """

    def take_records(self) -> bytes:
        """Return the records since the last call, in the order of their rows; also after `finish`."""

    def take_ids(self) -> bytes:
        """Return the records of ids since the last call, likewise; none without `ids`."""


class CsvRecordKeys(RecordKeys, Protocol):
    """Those of CSV. `columns`, `delimiter` and `max_row_bytes` are those of `Tally`; no column, no times."""

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
    ) -> None: ...


class ResourceKeys(RecordKeys, Protocol):
    """Those of FHIR. `max_row_bytes` and `base` are those of `ResourceTally`; patients decide which rows are sound."""

    def __init__(
        self,
        *,
        key: bytes,
        download: int = 0,
        begin: int | None = None,
        end: int | None = None,
        ids: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        base: str | None = None,
    ) -> None: ...
