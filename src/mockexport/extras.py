"""The optional extras: a missing package becomes an error that names the command to install it."""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["needs_extra"]

NEEDED_FOR = MappingProxyType(
    {
        "cloud": "an object store",
        "cluster": "counting on a Dask cluster",
        "heartrate": "heart-rate data",
        "parquet": "reading Parquet",
        "postgres": "a journal in PostgreSQL",
        "server": "serving",
        "smart": "SMART Backend Services",
        "zstd": "reading zstd before Python 3.14",
    }
)


@contextmanager
def needs_extra(extra: str) -> Generator[None, None, None]:
    """Turn a missing package, imported in the block, into a UsageError with the command that installs the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mockexport"):
            raise
        raise UsageError(f"{NEEDED_FOR[extra]} needs an extra; pip install 'mockexport[{extra}]'") from error
