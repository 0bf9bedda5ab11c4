"""The command line: one module per command group. No other package imports Typer and rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.cli.app import run
    from mockexport.cli.terminal import flush_stdout
    from mockexport.cli.version import version_text

__all__ = [
    "flush_stdout",
    "run",
    "version_text",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "app": ("run",),
        "terminal": ("flush_stdout",),
        "version": ("version_text",),
    },
)
