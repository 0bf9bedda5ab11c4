"""The text of `--version`."""

from __future__ import annotations

import platform

from mockexport._version import __version__
from mockexport.settings import Settings
from mockexport.sources import generator_name
from mockexport.tally import tally_name

__all__ = ["kernels_text", "version_text"]


def version_text() -> str:
    """Return the versions of mockexport and Python, and which kernels are used."""
    kernels = kernels_text(Settings.from_environment().kernel)
    return f"mockexport {__version__}, Python {platform.python_version()}, {kernels}"


def kernels_text(kernel: str) -> str:
    """Return which kernels are used: `native (avx2) kernels`, or each by its name if only one of them was built."""
    tally, generator = tally_name(kernel), generator_name(kernel)
    return f"{tally} kernels" if tally.startswith(generator) else f"{tally} tally, {generator} generator"
