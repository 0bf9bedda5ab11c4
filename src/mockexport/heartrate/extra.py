"""The one line for whoever has not installed what heart-rate readings need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["needs_extra"]


@contextmanager
def needs_extra() -> Generator[None, None, None]:
    """Turn a missing package into a UsageError with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mockexport"):
            raise
        raise UsageError("heart-rate readings need an extra; pip install 'mockexport[heartrate]'") from error
