"""Statistics as one would write them in a hurry: all rows in lists, sorted, fractions. What ours must come to."""

from __future__ import annotations

import csv
import io
import re
import statistics
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RANGES = {"heart_rate": (40, 180), "spo2": (85, 100), "bp_sys": (90, 200), "bp_dia": (60, 120)}
TWENTIETHS = {"p05": 1, "median": 10, "p95": 19}
Row = tuple[int, Fraction | None, datetime | None]


def plain_statistics(bodies: Mapping[str, bytes], now: datetime) -> dict[str, Any]:
    """The figures of downloads, as `stats` writes them."""
    cells: dict[tuple[str, str], list[Row]] = {}
    for number, body in enumerate(bodies.values()):
        for patient, time, name, value in list(csv.reader(io.StringIO(body.decode())))[1:]:
            cells.setdefault((patient, name), []).append((number, number_of(value), time_of(time)))
    names = sorted({name for _, name in cells})
    return {
        "patients": {
            patient: {name: figures([rows], name, now) for (who, name), rows in sorted(cells.items()) if who == patient}
            for patient in sorted({patient for patient, _ in cells})
        },
        "totals": {name: figures([rows for (_, n), rows in cells.items() if n == name], name, now) for name in names},
    }


def figures(pairs: Sequence[Sequence[Row]], name: str, now: datetime) -> dict[str, Any]:
    """The figures of one pair, or of several together."""
    values = sorted(value for rows in pairs for _, value, _ in rows if value is not None)
    timelines = [in_order for rows in pairs if (in_order := sorted(time for _, _, time in rows if time is not None))]
    gaps = [(other - one, one) for times in timelines for one, other in pairwise(times)]
    longest = max((gap for gap, _ in gaps), default=None)
    low, high = RANGES.get(name, (float("-inf"), float("inf")))
    span = sum((gap.total_seconds() * 10**6 for gap, _ in gaps), 0.0)
    return {
        "mean": float(statistics.mean(values)) if values else None,
        "min": float(values[0]) if values else None,
        "max": float(values[-1]) if values else None,
        "anomalies": sum(not low <= value <= high for value in values),
        "latency": float(Fraction(round(span), len(gaps) * 10**6)) if gaps else None,
        "count": sum(map(len, pairs)),
        "not_a_number": sum(value is None for rows in pairs for _, value, _ in rows),
        "sd": float(statistics.stdev(values)) if len(values) > 1 else None,
        **{n: float(values[-(-len(values) * k // 20) - 1]) if values else None for n, k in TWENTIETHS.items()},
        "not_a_time": sum(time is None for rows in pairs for _, _, time in rows),
        "first": text(min(times[0] for times in timelines)) if timelines else None,
        "last": text(max(times[-1] for times in timelines)) if timelines else None,
        "longest_gap": None if longest is None else longest.total_seconds(),
        "longest_gap_start": None if longest is None else text(min(start for gap, start in gaps if gap == longest)),
        "duplicates": sum(gap.total_seconds() == 0 for gap, _ in gaps),
        "out_of_order": sum(backwards(rows) for rows in pairs),
        "future": sum(time > now for times in timelines for time in times),
    }  # fmt: skip


def backwards(rows: Iterable[Row]) -> int:
    timed = [(download, time) for download, _, time in rows if time is not None]
    return sum(one[0] == other[0] and other[1] < one[1] for one, other in pairwise(timed))


def number_of(value: str) -> Fraction | None:
    return Fraction(value) if re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", value, re.ASCII) else None


def time_of(time: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(time)
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
