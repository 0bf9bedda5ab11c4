"""The JSON documents that the commands write (docs/cli.md, "Output")."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mockexport.model import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from mockexport.model import Counts, Download, Export
    from mockexport.pipeline import Difference, Statistics

__all__ = [
    "counts_document",
    "download_document",
    "export_document",
    "statistics_document",
    "verdict_document",
]


def counts_document(counts: Counts) -> dict[str, Any]:
    """Return the output of `count`, with all keys sorted; `unassigned` and `left_out` only if not empty."""
    document: dict[str, Any] = {
        "patients": {patient: _sorted(types) for patient, types in sorted(counts.patients.items())},
        "totals": _sorted(counts.totals),
    }
    if counts.unassigned:
        document["unassigned"] = {name: _sorted(reasons) for name, reasons in sorted(counts.unassigned.items())}
    if counts.left_out:
        document["left_out"] = _sorted(counts.left_out)
    return document


def statistics_document(
    statistics: Statistics,
    *,
    ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
    now: datetime | None = None,
    only: Sequence[str] | None = None,
    below: int = 1,
) -> dict[str, Any]:
    """Return the output of `stats`; what was asked for is there only if it was, so that it can be asked for again."""
    document: dict[str, Any] = {"patients": statistics.patients, "totals": statistics.totals, "all": statistics.all}
    if ranges is not None:
        document["ranges"] = ranges
    if now is not None:
        document["now"] = time_text(now)
    if only:
        document["only"] = sorted(set(only))
    if below > 1:
        document["suppressed"] = {"below": below, "cells": statistics.suppressed}
    if statistics.unassigned:
        document["unassigned"] = {name: _sorted(reasons) for name, reasons in sorted(statistics.unassigned.items())}
    if statistics.left_out:
        document["left_out"] = _sorted(statistics.left_out)
    return document


def _sorted(numbers: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(numbers.items()))


def export_document(export: Export) -> dict[str, Any]:
    """Return one item of the output of `exports list`."""
    return {
        **asdict(export),
        "start_time": _time(export.start_time),
        "end_time": _time(export.end_time),
    }


def download_document(download: Download) -> dict[str, Any]:
    """Return one item of the output of `downloads list`."""
    return {
        "id": download.id,
        "rows": download.rows,
        "event_types": download.event_types,
        "patients": download.patients,
        "start_time": _time(download.start_time),
        "end_time": _time(download.end_time),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


def verdict_document(file: str, export: str, differences: Sequence[Difference], error: str | None) -> dict[str, Any]:
    """Return one item of the results of `verify`; `error` says why the file could not be checked."""
    document: dict[str, Any] = {
        "file": file,
        "export": export,
        "status": "error" if error else "differs" if differences else "match",
        "differences": [_difference(difference) for difference in differences],
    }
    if error:
        document["error"] = error
    return document


def _difference(difference: Difference) -> dict[str, Any]:
    """Return a difference; `left_out`, `unassigned` and `figure` are there only if it is one of these."""
    document = asdict(difference)
    for key in ("left_out", "unassigned", "figure"):
        if document[key] is None:
            del document[key]
    return document
