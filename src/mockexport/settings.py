"""What the environment says; it is read here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.errors import UsageError, suggestion
from mockexport.native import KERNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_PAGER", "Settings", "is_dumb_terminal", "pager_environment", "store_options"]

DEFAULT_PAGER = "less"
STORE_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults below the command line's options: an option wins over the environment, which wins over these."""

    source: str
    kernel: str
    token_file: Path | None = None
    scheduler: str | None = None
    source_is_named: bool = False  # or it is the default
    format: str | None = None  # on a terminal
    pager: str = DEFAULT_PAGER  # empty: none

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables of docs/cli.md; an empty value counts as unset, except for PAGER.

        Raises UsageError for a kernel that there is not.
        """
        kernel = environ.get("MOCKEXPORT_KERNEL") or "auto"
        if kernel not in KERNELS:
            hint = suggestion(kernel, KERNELS)
            raise UsageError(f"MOCKEXPORT_KERNEL is {kernel!r}; it takes auto, native or pure{hint}")
        return cls(
            source=environ.get("MOCKEXPORT_SOURCE") or "mock",
            kernel=kernel,
            token_file=Path(environ["MOCKEXPORT_TOKEN_FILE"]) if environ.get("MOCKEXPORT_TOKEN_FILE") else None,
            scheduler=environ.get("MOCKEXPORT_SCHEDULER") or None,
            source_is_named=bool(environ.get("MOCKEXPORT_SOURCE")),
            format=environ.get("MOCKEXPORT_FORMAT") or None,
            pager="" if is_dumb_terminal(environ) else environ.get("PAGER", DEFAULT_PAGER).strip(),
        )


def store_options(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of object stores, by which a table under a URL is reached."""
    return {name: value for name, value in environ.items() if name.startswith(STORE_PREFIXES)}


def pager_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a pager: less shows colours and UTF-8, and leaves short text on the screen, as in git.

    What the user has set stays as it is.
    """
    return {"LESS": "FRX", "LESSCHARSET": "utf-8", **environ}


def is_dumb_terminal(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the terminal cannot move its cursor."""
    return environ.get("TERM") == "dumb"
