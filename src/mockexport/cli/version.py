"""The text of `--version`."""

from __future__ import annotations

import platform

from mockexport._version import __version__
from mockexport.kernels import choose_kernels
from mockexport.settings import Settings

__all__ = ["version_text"]


def version_text() -> str:
    """Return the versions of mockexport and Python, and which kernels are used."""
    kernels = choose_kernels(Settings.from_environment().kernel)
    return f"mockexport {__version__}, Python {platform.python_version()}, {kernels.name} kernels"
