"""Count, reconcile and verify bulk healthcare exports.

    from mockexport import count, open_source

    counts = count(open_source("mock"), "demo")
    counts.patients["P001"]["bp_sys"]

What the commands do, without a terminal. A source is `mock`, a folder, or the URL of a server that speaks docs/wire.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mockexport._version import __version__

if TYPE_CHECKING:
    from mockexport.errors import (
        MockExportError,
        NotAuthorisedError,
        NotFoundError,
        UnreachableError,
        UntrustedDataError,
        UsageError,
    )
    from mockexport.factory import open_source
    from mockexport.model import Counts, Download, Export, summarise
    from mockexport.pipeline import Committed, Difference, Fetched, compare, count, fetch, read_committed
    from mockexport.source import Source

__all__ = [
    "Committed",
    "Counts",
    "Difference",
    "Download",
    "Export",
    "Fetched",
    "MockExportError",
    "NotAuthorisedError",
    "NotFoundError",
    "Source",
    "UnreachableError",
    "UntrustedDataError",
    "UsageError",
    "__version__",
    "compare",
    "count",
    "fetch",
    "open_source",
    "read_committed",
    "summarise",
]

# Loaded when first asked for, so that each command loads only what it uses.
_HOMES = {
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "factory": ("open_source",),
    "model": ("Counts", "Download", "Export", "summarise"),
    "pipeline": ("Committed", "Difference", "Fetched", "compare", "count", "fetch", "read_committed"),
    "source": ("Source",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mockexport' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mockexport.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
