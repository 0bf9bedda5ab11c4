"""Whether the native part or the reference sorts and folds: chosen here, with the memory that each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mockexport.native import native_part
from mockexport.sorting import reference

if TYPE_CHECKING:
    from mockexport.sorting.contract import Distinct, Gaps, Sort

__all__ = ["choose_distinct", "choose_gaps", "choose_sort", "records_in"]

NATIVE = "mockexport.sorting._native"
OBJECT_BYTES = 128  # a record as an object, beside its bytes, and its places in lists, with what the allocator adds


def choose_sort(kernel: str = "auto") -> Sort:
    """Return what sorts, as `kernel` means: `native`, `pure`, or `auto` for the native one where it was built.

    Raises UsageError when `native` is asked for and was not built, and for any other name.
    """
    native = native_part(NATIVE, kernel)
    return cast("Sort", native.sort_records) if native else reference.sort_records


def choose_gaps(kernel: str = "auto") -> type[Gaps]:
    """Return the fold of times that `kernel` means. Raises what `choose_sort` raises."""
    native = native_part(NATIVE, kernel)
    return cast("type[Gaps]", native.NativeGaps) if native else reference.ReferenceGaps


def choose_distinct(kernel: str = "auto") -> type[Distinct]:
    """Return the fold of keys that `kernel` means. Raises what `choose_sort` raises."""
    native = native_part(NATIVE, kernel)
    return cast("type[Distinct]", native.NativeDistinct) if native else reference.ReferenceDistinct


def records_in(memory: int, width: int, kernel: str = "auto") -> int:
    """Return how many records can be collected and sorted in so many bytes; one at least."""
    record = width + width // 8 + 1  # a bytearray that grows takes an eighth more than it holds
    if choose_sort(kernel) is reference.sort_records:
        record += width + OBJECT_BYTES + width
    return max(1, memory // record)
