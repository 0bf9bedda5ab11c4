"""Which tally runs, the native one or the reference: chosen here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mockexport.native import native_part
from mockexport.tally.contract import MAX_PAIRS, MAX_ROW_BYTES
from mockexport.tally.header import CSV, CsvFormat, HeaderFirst
from mockexport.tally.reference import ReferenceTally

if TYPE_CHECKING:
    from mockexport.model import Counts
    from mockexport.tally.contract import Accumulator, Tally

__all__ = ["TallySpec", "choose_tally", "tally_name"]

NATIVE = "mockexport.tally._native"


def choose_tally(kernel: str = "auto") -> type[Tally]:
    """Return the tally that `kernel` means: `native`, `pure`, or `auto` for the native one where it was built.

    Raises UsageError when `native` is asked for and was not built, and for any other name.
    """
    native = native_part(NATIVE, kernel)
    return native.NativeTally if native else ReferenceTally


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

    def new(self) -> Accumulator[Counts]:
        """Make a tally. Raises UsageError where the kernel is `native` and was not built."""
        choose_tally(self.kernel)
        return HeaderFirst(self.csv, self.max_row_bytes, self._new_tally)

    def _new_tally(self, delimiter: bytes) -> Tally:
        return choose_tally(self.kernel)(
            skip=self.skip_malformed,
            max_row_bytes=self.max_row_bytes,
            max_pairs=self.max_pairs,
            columns=self.csv.columns,
            delimiter=delimiter,
        )

    def strict(self) -> Self:
        """Return the same specification, but a malformed row is an error."""
        return replace(self, skip_malformed=False)

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another kernel."""
        return replace(self, kernel=kernel)
