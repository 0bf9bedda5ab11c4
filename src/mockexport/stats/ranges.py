"""Ranges as a user gives them: of each type, the lowest and the highest number that is no anomaly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mockexport.errors import UsageError
from mockexport.stats.numbers import Number, order, parse_number

if TYPE_CHECKING:
    from mockexport.stats.contract import Ranges

__all__ = ["read_ranges"]

ENDS = 2


def read_ranges(given: Any) -> Ranges:
    """Read what a JSON file says: an object, type to [low, high], with null for no limit. Raises UsageError.

    The limits are taken as they are written in decimal: 98.6 is 98.6.
    """
    if not isinstance(given, Mapping):
        raise UsageError('ranges are an object such as {"heart_rate": [40, 180]}, null for no limit')
    return {str(name): _range(str(name), ends) for name, ends in given.items()}


def _range(name: str, ends: Any) -> tuple[Number | None, Number | None]:
    if not isinstance(ends, list | tuple) or len(ends) != ENDS:
        raise UsageError(f"the range of {name!r} is not [low, high], a list of two")
    low, high = (_limit(name, end) for end in ends)
    if low is not None and high is not None and order(low) > order(high):
        raise UsageError(f"the range of {name!r} is empty: {ends[0]} is more than {ends[1]}")
    return low, high


def _limit(name: str, end: Any) -> Number | None:
    if end is None:
        return None
    is_number = isinstance(end, int | float | Decimal) and not isinstance(end, bool)
    number = parse_number(str(end).encode()) if is_number else None
    if number is None:
        raise UsageError(f"the range of {name!r} has {end!r}, which is neither a number nor null")
    return number
