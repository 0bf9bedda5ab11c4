"""Which counts stand out: by how many standard deviations they are from the mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["deviations", "mark_of"]

MARKS = ((2, "++", "--"), (1, "+", "-"))


def deviations(patients: Mapping[str, Mapping[str, int]], event_type: str) -> dict[str, float]:
    """Return, of each patient's count of a type, how many standard deviations it is above the mean; no record is 0.

    They are all 0 if the counts are the same.
    """
    numbers = {patient: types.get(event_type, 0) for patient, types in patients.items()}
    size, total = len(numbers), sum(numbers.values())
    # `size` times the standard deviation; statistics.pstdev is exact as well, but takes seconds for many patients.
    deviation = math.sqrt(size * sum(n * n for n in numbers.values()) - total * total)
    return {patient: (size * n - total) / deviation if deviation else 0.0 for patient, n in numbers.items()}


def mark_of(distance: float) -> str:
    """Return `+` or `-` for a count that is more than one standard deviation from the mean, two of them for two."""
    for limit, high, low in MARKS:
        if abs(distance) > limit:
            return high if distance > 0 else low
    return ""
