"""Zstandard: from Python 3.14 on the standard library has it, before that its backport, in the extra [zstd]."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mockexport.errors import UsageError

__all__ = ["zstd_module"]


def zstd_module() -> Any:
    """Return `compression.zstd` or `backports.zstd`. Raises UsageError when neither is there."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError("zstd needs an extra on this Python; pip install 'mockexport[zstd]'") from error
