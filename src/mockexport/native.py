"""A native part or its pure twin: the one rule by which each room chooses between its own two."""

from __future__ import annotations

import importlib
from typing import Any

from mockexport.errors import UsageError, suggestion

__all__ = ["KERNELS", "native_part"]

KERNELS = ("auto", "native", "pure")


def native_part(module: str, kernel: str) -> Any | None:
    """Return the native module of that name, or None where its pure twin is to run.

    `kernel` is `native`, `pure`, or `auto` for the native module where it was built. Raises UsageError when `native` is
    asked for and was not built, and for any other name.
    """
    if kernel not in KERNELS:
        hint = suggestion(kernel, KERNELS)
        raise UsageError(f"there is no kernel {kernel!r}; kernel takes auto, native or pure{hint}")
    if kernel == "pure":
        return None
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if kernel == "auto":
            return None
        raise UsageError(
            "kernel is 'native', but the native parts were not built; reinstall with a C compiler, or take 'pure'"
        ) from error
