"""The accumulators of statistics under test, and how they are run."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from mockexport.stats import DEFAULT_RANGES, ReferenceStats
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["COLUMNS", "NATIVE", "NATIVE_TIMES", "NOW", "expected", "trace", "trace_times"]

COLUMNS = (b"patient_id", b"event_time", b"event_type", b"value")
NOW = 1_756_166_404_906_404  # 2025-08-26T00:00:04.906404Z

NATIVE: dict[str, Any] = {}
NATIVE_TIMES: dict[str, Any] = {}  # those of the second pass
if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.stats import _native
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        NATIVE = {
            f"native-{name}": partial(_native.NativeStats, instructions=name) for name in _native.INSTRUCTION_SETS
        }
        NATIVE_TIMES = {
            f"native-{name}": partial(_native.NativeTimes, instructions=name) for name in _native.INSTRUCTION_SETS
        }


def trace(new: Any, chunks: Iterable[bytes], **options: Any) -> list[Any]:
    """Run an accumulator; tell how far it is after every chunk, and what came at the end, a problem or the result."""
    stats = new(**{"columns": COLUMNS, "ranges": DEFAULT_RANGES, "now": NOW} | options)
    told: list[Any] = []
    try:
        for chunk in chunks:
            stats.feed(chunk)
            told.append((stats.rows, stats.between_rows))
        told.append(stats.finish())
    except Malformed as error:
        told.append((type(error), error.line, error.reason))
    return [*told, stats.rows]


def expected(chunks: Iterable[bytes], **options: Any) -> list[Any]:
    """What the reference tells."""
    return trace(ReferenceStats, chunks, **options)


def trace_times(new: Any, chunks: Iterable[bytes], **options: Any) -> list[Any]:
    """Run a reader of times; tell how far it is after every chunk, its records, and what ended it."""
    times = new(**options)
    told: list[Any] = []
    try:
        for chunk in chunks:
            times.feed(chunk)
            told.append((times.rows, times.between_rows, times.take_records()))
        told.append(times.finish())
    except Malformed as error:
        told.append(str(error))
    told.append((times.rows, times.take_records()))
    for use in (times.finish, lambda: times.feed(b"more")):
        try:
            use()
        except ValueError:
            told.append("has ended")
    return told
