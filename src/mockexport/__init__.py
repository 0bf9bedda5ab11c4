"""Count, describe, verify and fetch bulk healthcare exports.

    from mockexport import count, open_source

    counts = count(open_source("mock"), "demo")
    counts.patients["P001"]["bp_sys"]

Everything that the command line does is available here. Errors are subclasses of `MockExportError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport._version import __version__
from mockexport.lazy import lazy_attributes

if TYPE_CHECKING:
    from mockexport.errors import (
        ChangedError,
        MissingError,
        MockExportError,
        NotAuthorisedError,
        NotFoundError,
        NotResumableError,
        Remedy,
        UnreachableError,
        UntrustedDataError,
        UsageError,
    )
    from mockexport.factory import open_place, open_source
    from mockexport.fhir_export import FhirExport
    from mockexport.model import Counts, Download, Export, summarise
    from mockexport.pipeline import (
        Checkpoint,
        Committed,
        Difference,
        Fetched,
        OnListing,
        OnProgress,
        ProgressCounters,
        Split,
        StartWorkers,
        Statistics,
        Subject,
        Workers,
        cluster_workers,
        compare,
        count,
        fetch,
        process_workers,
        read_committed,
        reconcile,
        statistics,
        thread_workers,
    )
    from mockexport.place import Place
    from mockexport.reconciliation import Certificate, Finding
    from mockexport.source import CancelToken, Source
    from mockexport.tally import CsvFormat, FhirFormat

__all__ = [
    "CancelToken",
    "Certificate",
    "ChangedError",
    "Checkpoint",
    "Committed",
    "Counts",
    "CsvFormat",
    "Difference",
    "Download",
    "Export",
    "Fetched",
    "FhirExport",
    "FhirFormat",
    "Finding",
    "MissingError",
    "MockExportError",
    "NotAuthorisedError",
    "NotFoundError",
    "NotResumableError",
    "OnListing",
    "OnProgress",
    "Place",
    "ProgressCounters",
    "Remedy",
    "Source",
    "Split",
    "StartWorkers",
    "Statistics",
    "Subject",
    "UnreachableError",
    "UntrustedDataError",
    "UsageError",
    "Workers",
    "__version__",
    "cluster_workers",
    "compare",
    "count",
    "fetch",
    "open_place",
    "open_source",
    "process_workers",
    "read_committed",
    "reconcile",
    "statistics",
    "summarise",
    "thread_workers",
]

# Imported on first use, so that `import mockexport` is fast and each command loads only what it needs.
__getattr__ = lazy_attributes(
    __name__,
    {
        "errors": ("Remedy", *(name for name in __all__ if name.endswith("Error"))),
        "factory": ("open_place", "open_source"),
        "fhir_export": ("FhirExport",),
        "model": ("Counts", "Download", "Export", "summarise"),
        "pipeline": (
            "Checkpoint",
            "Committed",
            "Difference",
            "Fetched",
            "OnListing",
            "OnProgress",
            "Place",
            "ProgressCounters",
            "Split",
            "StartWorkers",
            "Statistics",
            "Subject",
            "Workers",
            "cluster_workers",
            "compare",
            "count",
            "fetch",
            "process_workers",
            "read_committed",
            "reconcile",
            "statistics",
            "thread_workers",
        ),
        "reconciliation": ("Certificate", "Finding"),
        "place": ("Place",),
        "source": ("CancelToken", "Source"),
        "tally": ("CsvFormat", "FhirFormat"),
    },
)


def __dir__() -> list[str]:
    return __all__
