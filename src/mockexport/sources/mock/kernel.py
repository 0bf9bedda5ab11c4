"""Which generator runs, the native one or the reference: chosen here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.native import native_part
from mockexport.sources.mock.reference import ReferenceGenerator

if TYPE_CHECKING:
    from mockexport.sources.mock.reference import Generator

__all__ = ["choose_generator", "generator_name"]

NATIVE = "mockexport.sources.mock._native"


def choose_generator(kernel: str = "auto") -> type[Generator]:
    """Return the generator that `kernel` means: `native`, `pure`, or `auto` for the native one where it was built.

    Raises UsageError when `native` is asked for and was not built, and for any other name.
    """
    native = native_part(NATIVE, kernel)
    return native.NativeGenerator if native else ReferenceGenerator


def generator_name(kernel: str = "auto") -> str:
    """Return which generator that is, `native` or `pure`."""
    return "pure" if choose_generator(kernel) is ReferenceGenerator else "native"
