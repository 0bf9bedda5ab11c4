"""Sizes as people write them."""

from __future__ import annotations

import re

from mockexport.errors import UsageError

__all__ = ["read_size"]

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
SIZE = re.compile(r"([0-9]{1,15})\s*([kmg]i?)?b?", re.IGNORECASE)
LEAST = 10**6


def read_size(text: str, option: str = "--memory") -> int:
    """Read a number of bytes, such as 256MB or 1GiB. Raises UsageError."""
    found = SIZE.fullmatch(text.strip())
    size = int(found[1]) * UNITS[(found[2] or "").lower()] if found else 0
    if size < LEAST:
        raise UsageError(f"{option} {text!r} is not a size of at least 1MB, such as 256MB or 2GB")
    return size
