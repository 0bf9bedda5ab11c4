"""Which tally runs, by the format of a download, and of each the native one or the reference: chosen here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from mockexport.native import native_part
from mockexport.tally.contract import MAX_PAIRS, MAX_ROW_BYTES
from mockexport.tally.fhir import FHIR, FhirFormat, ReferenceResourceTally
from mockexport.tally.header import CSV, CsvFormat, HeaderFirst
from mockexport.tally.reference import ReferenceTally

if TYPE_CHECKING:
    from mockexport.model import Counts, Download
    from mockexport.tally.contract import Accumulator, Tally
    from mockexport.tally.fhir import ResourceTally

__all__ = ["CountSpec", "ResourceSpec", "TallySpec", "choose_resource_tally", "choose_tally", "tally_name"]

NATIVE = "mockexport.tally._native"
NATIVE_FHIR = "mockexport.tally.fhir._native"


def choose_tally(kernel: str = "auto") -> type[Tally]:
    """Return the tally that `kernel` means: `native`, `pure`, or `auto` for the native one where it was built.

    Raises UsageError when `native` is asked for and was not built, and for any other name.
    """
    native = native_part(NATIVE, kernel)
    return native.NativeTally if native else ReferenceTally


def choose_resource_tally(kernel: str = "auto") -> type[ResourceTally]:
    """Return the tally of FHIR resources that `kernel` means. Raises what `choose_tally` raises."""
    native = native_part(NATIVE_FHIR, kernel)
    return native.NativeResourceTally if native else ReferenceResourceTally


def tally_name(kernel: str = "auto") -> str:
    """Return which tally that is, with its instruction set: `native (avx2)`, say, or `pure`."""
    native = native_part(NATIVE, kernel)
    return f"native ({native.INSTRUCTION_SETS[0]})" if native else "pure"


@dataclass(frozen=True, slots=True)
class TallySpec:
    """What makes tallies; the contract is `mockexport.tally.contract.AccumulatorSpec`, of `Counts`.

    `kernel` says which tally (`choose_tally`), and `csv` how the body is written; the other fields are its arguments.
    """

    kernel: str = "auto"
    skip_malformed: bool = False
    max_row_bytes: int = MAX_ROW_BYTES
    max_pairs: int = MAX_PAIRS
    csv: CsvFormat = CSV

    lf_ends_row: ClassVar[bool] = False

    def new(self) -> Accumulator[Counts]:
        """Make a tally. Raises UsageError where the kernel is `native` and was not built."""
        choose_tally(self.kernel)
        return HeaderFirst(self.csv.columns, self.csv.delimiter, self.max_row_bytes, self._new_tally)

    def _new_tally(self, delimiter: bytes) -> Tally:
        return choose_tally(self.kernel)(
            skip=self.skip_malformed,
            max_row_bytes=self.max_row_bytes,
            max_pairs=self.max_pairs,
            columns=self.csv.columns,
            delimiter=delimiter,
        )

    def without_skip(self) -> Self:
        """Return the same specification, but a malformed row is an error."""
        return replace(self, skip_malformed=False)

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel."""
        return replace(self, kernel=kernel)


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """What makes tallies of FHIR resources; the contract is `AccumulatorSpec`, of `Counts`.

    `fhir` says how they are counted, and `base` is that of their download; the other fields are those of `TallySpec`.
    """

    kernel: str = "auto"
    skip_malformed: bool = False
    max_pairs: int = MAX_PAIRS
    fhir: FhirFormat = FHIR
    base: str | None = None
    lf_ends_row: ClassVar[bool] = True

    def new(self) -> Accumulator[Counts]:
        """Make a tally. Raises UsageError where the kernel is `native` and was not built."""
        return choose_resource_tally(self.kernel)(
            skip=self.skip_malformed,
            max_row_bytes=self.fhir.max_row_bytes,
            max_pairs=self.max_pairs,
            by=self.fhir.by,
            strict=self.fhir.strict,
            base=self.base,
        )

    def without_skip(self) -> Self:
        """Return the same specification, but a malformed row is an error."""
        return replace(self, skip_malformed=False)

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel."""
        return replace(self, kernel=kernel)


@dataclass(frozen=True, slots=True)
class CountSpec:
    """How the downloads of an export are counted, whatever their formats; with the fields of the specifications."""

    kernel: str = "auto"
    skip_malformed: bool = False
    max_pairs: int = MAX_PAIRS
    csv: CsvFormat = CSV
    fhir: FhirFormat = FHIR

    def of(self, download: Download) -> TallySpec | ResourceSpec:
        """Return what makes the tallies of a download, by its format."""
        if download.format == "ndjson":
            base = download.base.rstrip("/") if download.base else None
            return ResourceSpec(self.kernel, self.skip_malformed, self.max_pairs, self.fhir, base)
        return TallySpec(self.kernel, self.skip_malformed, max_pairs=self.max_pairs, csv=self.csv)
