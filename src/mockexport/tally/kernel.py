"""Which tally runs, the native one or the reference: chosen here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.native import native_part
from mockexport.tally.reference import ReferenceTally

if TYPE_CHECKING:
    from mockexport.tally.contract import Tally

__all__ = ["choose_tally", "tally_name"]

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
