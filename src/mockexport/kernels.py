"""Which twins run, native or pure: chosen here, once, and handed on as an argument."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from mockexport.sources import Generator
    from mockexport.tally import Tally

__all__ = ["Kernels", "choose_kernels"]


@dataclass(frozen=True, slots=True)
class Kernels:
    """A tally and a generator that belong together; `name` is what `--version` says of them."""

    name: str
    tally: type[Tally]
    generator: type[Generator]
    releases_gil: bool


def choose_kernels(wanted: str = "auto") -> Kernels:
    """Return the twins: `native`, `pure`, or with `auto` the native ones where both were built.

    Raises UsageError when `native` is wanted and absent, or `wanted` is none of the three.
    """
    if wanted not in ("auto", "native", "pure"):
        raise UsageError(f"MOCKEXPORT_KERNEL is {wanted!r}; it takes auto, native or pure")
    if wanted != "pure":
        try:
            tally: Any = importlib.import_module("mockexport.tally._native")
            generator: Any = importlib.import_module("mockexport.sources.mock._native")
        except ImportError as error:
            if wanted == "native":
                raise UsageError(
                    "MOCKEXPORT_KERNEL is 'native', but the native parts were not built; "
                    "reinstall with a C compiler, or take 'pure'"
                ) from error
        else:
            name = f"native ({tally.INSTRUCTION_SETS[0]})"
            return Kernels(name, tally.NativeTally, generator.NativeGenerator, releases_gil=True)
    from mockexport.sources import ReferenceGenerator
    from mockexport.tally import ReferenceTally

    return Kernels("pure", ReferenceTally, ReferenceGenerator, releases_gil=False)
