"""Zstandard (RFC 8878): in the standard library since Python 3.14, before that its backport, in the extra `[zstd]`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mockexport.extras import needs_extra

__all__ = ["zstd_module"]


def zstd_module() -> Any:
    """Return `compression.zstd` or `backports.zstd`. Raises UsageError if neither is installed."""
    with needs_extra("zstd"):
        return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
