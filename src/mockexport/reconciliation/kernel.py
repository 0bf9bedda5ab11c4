"""What makes the accumulators of `reconcile`, by the format of a download: counts, facts and keys in one reading."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from mockexport.model import Counts
from mockexport.native import native_part
from mockexport.reconciliation import fhir_reference, reference
from mockexport.reconciliation.contract import RecordFacts
from mockexport.tally import (
    CSV,
    MAX_PAIRS,
    MAX_RESOURCE_BYTES,
    MAX_ROW_BYTES,
    CsvFormat,
    HeaderFirst,
    choose_resource_tally,
    choose_tally,
)

if TYPE_CHECKING:
    from mockexport.reconciliation.contract import CsvRecordKeys, RecordKey, RecordKeys, ResourceKeys
    from mockexport.tally import Accumulator

__all__ = ["CsvReading", "Found", "FoundRecords", "ReadingSpec", "ResourceReading", "choose_key"]

NATIVE = "mockexport.reconciliation._native"
NATIVE_FHIR = "mockexport.reconciliation._fhir_native"


def choose_csv_keys(kernel: str = "auto") -> type[CsvRecordKeys]:
    """Return the accumulator of CSV that `kernel` means; it raises what `choose_tally` raises."""
    native = native_part(NATIVE, kernel)
    return cast("type[CsvRecordKeys]", native.NativeCsvKeys if native else reference.ReferenceCsvKeys)


def choose_resource_keys(kernel: str = "auto") -> type[ResourceKeys]:
    """Return the accumulator of FHIR that `kernel` means. Raises what `choose_tally` raises."""
    native = native_part(NATIVE_FHIR, kernel)
    return cast("type[ResourceKeys]", native.NativeResourceKeys if native else fhir_reference.ReferenceResourceKeys)


def choose_key(kernel: str = "auto") -> RecordKey:
    """Return the hash of the accumulator of FHIR that `kernel` means. Raises what `choose_tally` raises."""
    native = native_part(NATIVE_FHIR, kernel)
    return cast("RecordKey", native.record_key if native else reference.record_key)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a download: its counts, and the facts of its rows."""

    counts: Counts = field(default_factory=Counts)
    facts: RecordFacts = field(default_factory=RecordFacts)

    def __add__(self, other: Found) -> Found:
        return Found(self.counts + other.counts, self.facts + other.facts)


class FoundRecords:
    """An accumulator of both: a tally, and keys; the records of the keys are to be taken as they come."""

    def __init__(self, tally: Accumulator[Counts], keys: RecordKeys) -> None:
        self._tally = tally
        self._keys = keys

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._tally.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._tally.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._tally.feed(chunk)
        self._keys.feed(chunk)

    def finish(self) -> Found:
        """End the body, and return what was found."""
        return Found(self._tally.finish(), self._keys.finish())

    def take_records(self) -> bytes:
        """Return the records since the last call."""
        return self._keys.take_records()

    def take_ids(self) -> bytes:
        """Return the records of ids since the last call."""
        return self._keys.take_ids()


class HeaderThenRecords(HeaderFirst[Found]):
    """That of CSV, which begins once its header has come."""

    def take_records(self) -> bytes:
        """Return the records since the last call."""
        return self.accumulator.take_records() if isinstance(self.accumulator, FoundRecords) else b""

    def take_ids(self) -> bytes:
        """Return nothing: rows have no ids."""
        return b""


@dataclass(frozen=True, slots=True)
class ReadingSpec:
    """What the accumulators of both formats are made with; the contract is `AccumulatorSpec`, of `Found`.

    `kernel` says which ones, `max_pairs` is that of `Tally`; the others are the arguments of `RecordKeys`.
    """

    kernel: str
    key: bytes = field(repr=False)
    download: int
    begin: int | None = None
    end: int | None = None
    max_pairs: int = MAX_PAIRS

    @property
    def _keys(self) -> dict[str, Any]:
        return {"key": self.key, "download": self.download, "begin": self.begin, "end": self.end}

    def without_skip(self) -> Self:
        """Return itself: malformed rows are always left out, and told."""
        return self

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel."""
        return replace(self, kernel=kernel)


@dataclass(frozen=True, slots=True)
class CsvReading(ReadingSpec):
    """How a download of CSV is read."""

    csv: CsvFormat = CSV

    lf_ends_row: ClassVar[bool] = False

    def new(self) -> HeaderThenRecords:
        """Make an accumulator. Raises UsageError where the kernel is `native` and was not built."""
        return HeaderThenRecords(self.csv.columns, self.csv.delimiter, MAX_ROW_BYTES, self._new)

    def _new(self, delimiter: bytes) -> FoundRecords:
        how: dict[str, Any] = {"columns": self.csv.columns, "delimiter": delimiter}
        tally = choose_tally(self.kernel)(skip=True, max_pairs=self.max_pairs, **how)
        return FoundRecords(tally, choose_csv_keys(self.kernel)(**self._keys, **how))


@dataclass(frozen=True, slots=True)
class ResourceReading(ReadingSpec):
    """How a download of FHIR resources is read; `ids` is that of `ResourceKeys`, `base` that of the download."""

    ids: bool = False
    max_row_bytes: int = MAX_RESOURCE_BYTES
    base: str | None = None

    lf_ends_row: ClassVar[bool] = True

    def new(self) -> FoundRecords:
        """Make an accumulator. Raises UsageError where the kernel is `native` and was not built."""
        how: dict[str, Any] = {"max_row_bytes": self.max_row_bytes, "base": self.base}
        tally = choose_resource_tally(self.kernel)(skip=True, strict=True, max_pairs=self.max_pairs, **how)
        return FoundRecords(tally, choose_resource_keys(self.kernel)(**self._keys, ids=self.ids, **how))
