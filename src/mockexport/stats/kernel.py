"""What makes the accumulators of statistics, by the format of a download, and whether the native or the pure ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from mockexport.native import native_part
from mockexport.stats.chosen import ReferenceResourceTimes, ReferenceTimes
from mockexport.stats.contract import DEFAULT_RANGES, MAX_STATS_PAIRS
from mockexport.stats.fhir_reference import ReferenceResourceStats
from mockexport.stats.reference import ReferenceStats
from mockexport.tally import CSV, FHIR, MAX_ROW_BYTES, CsvFormat, FhirFormat, HeaderFirst

if TYPE_CHECKING:
    from mockexport.model import Download
    from mockexport.stats.contract import Ranges, ResourceStatsAccumulator, ResourceTimes, StatsAccumulator, Times
    from mockexport.stats.result import Stats
    from mockexport.tally import Accumulator

__all__ = [
    "CsvStatsSpec",
    "ResourceStatsSpec",
    "StatsSpec",
    "choose_resource_stats",
    "choose_resource_times",
    "choose_stats",
    "choose_times",
]

NATIVE = "mockexport.stats._native"
NATIVE_FHIR = "mockexport.stats._fhir_native"


def choose_stats(kernel: str = "auto") -> type[StatsAccumulator]:
    """Return the accumulator of CSV that `kernel` means; it raises what `choose_tally` raises."""
    native = native_part(NATIVE, kernel)
    return native.NativeStats if native else ReferenceStats


def choose_resource_stats(kernel: str = "auto") -> type[ResourceStatsAccumulator]:
    """Return the accumulator of FHIR resources that `kernel` means; it raises what `choose_tally` raises."""
    native = native_part(NATIVE_FHIR, kernel)
    return native.NativeResourceStats if native else ReferenceResourceStats


def choose_times(kernel: str = "auto") -> type[Times]:
    """Return what reads the times of chosen pairs of CSV. It raises what `choose_tally` raises."""
    native = native_part(NATIVE, kernel)
    return native.NativeTimes if native else ReferenceTimes


def choose_resource_times(kernel: str = "auto") -> type[ResourceTimes]:
    """Return what reads the times of chosen pairs of FHIR resources. It raises what `choose_tally` raises."""
    native = native_part(NATIVE_FHIR, kernel)
    return native.NativeResourceTimes if native else ReferenceResourceTimes


@dataclass(frozen=True, slots=True)
class CsvStatsSpec:
    """What makes the accumulators of CSV; the contract is `mockexport.tally.contract.AccumulatorSpec`, of `Stats`."""

    now: int
    kernel: str = "auto"
    skip_malformed: bool = False
    max_pairs: int = MAX_STATS_PAIRS
    csv: CsvFormat = CSV
    ranges: Ranges = field(default_factory=lambda: DEFAULT_RANGES)
    max_row_bytes: int = MAX_ROW_BYTES

    lf_ends_row: ClassVar[bool] = False

    def new(self) -> Accumulator[Stats]:
        """Make an accumulator. Raises UsageError where the kernel is `native` and was not built."""
        choose_stats(self.kernel)
        how = self.csv.all_columns, self.csv.delimiter, self.max_row_bytes
        return HeaderFirst(*how, self._new, needs_all=True)

    def _new(self, delimiter: bytes) -> StatsAccumulator:
        return choose_stats(self.kernel)(
            columns=self.csv.all_columns,
            ranges=self.ranges,
            now=self.now,
            skip=self.skip_malformed,
            max_row_bytes=self.max_row_bytes,
            max_pairs=self.max_pairs,
            delimiter=delimiter,
        )

    def without_skip(self) -> Self:
        """Return the same specification, but a malformed row is an error."""
        return replace(self, skip_malformed=False)

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel."""
        return replace(self, kernel=kernel)


@dataclass(frozen=True, slots=True)
class ResourceStatsSpec:
    """What makes the accumulators of FHIR resources; the contract is `AccumulatorSpec`, of `Stats`.

    Of `fhir`, `by` means nothing here. `base` is that of the download.
    """

    now: int
    kernel: str = "auto"
    skip_malformed: bool = False
    max_pairs: int = MAX_STATS_PAIRS
    fhir: FhirFormat = FHIR
    ranges: Ranges = field(default_factory=lambda: DEFAULT_RANGES)
    base: str | None = None

    lf_ends_row: ClassVar[bool] = True

    def new(self) -> Accumulator[Stats]:
        """Make an accumulator. Raises UsageError where the kernel is `native` and was not built."""
        return choose_resource_stats(self.kernel)(
            ranges=self.ranges,
            now=self.now,
            skip=self.skip_malformed,
            max_row_bytes=self.fhir.max_row_bytes,
            max_pairs=self.max_pairs,
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
class StatsSpec:
    """How the statistics of an export's downloads are made, whatever their formats; `now` is in microseconds."""

    now: int
    kernel: str = "auto"
    skip_malformed: bool = False
    max_pairs: int = MAX_STATS_PAIRS
    csv: CsvFormat = CSV
    fhir: FhirFormat = FHIR
    ranges: Ranges = field(default_factory=lambda: DEFAULT_RANGES)

    def of(self, download: Download) -> CsvStatsSpec | ResourceStatsSpec:
        """Return what makes the accumulators of a download, by its format."""
        if download.format == "ndjson":
            base = download.base.rstrip("/") if download.base else None
            shared = self.now, self.kernel, self.skip_malformed, self.max_pairs
            return ResourceStatsSpec(*shared, self.fhir, self.ranges, base)
        return CsvStatsSpec(self.now, self.kernel, self.skip_malformed, self.max_pairs, self.csv, self.ranges)
