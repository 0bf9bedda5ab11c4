"""The command line: the only room that knows Typer and rich; one file a command group."""

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
