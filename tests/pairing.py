"""Parameters of tests, of which the default run takes some: the bulk is left to `-m slow`, or to `-m gate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["by_default", "pairs"]


def pairs(
    ones: Mapping[str, Any], others: Mapping[str, Any], rest: pytest.MarkDecorator = pytest.mark.slow
) -> list[Any]:
    """Return all pairs. The default run takes each of either kind once, with the first of the other kind."""
    first, second = next(iter(ones)), next(iter(others))
    return [
        pytest.param(
            ones[one],
            others[other],
            id=f"{one}-{other}",
            marks=() if one == first or other == second else rest,
        )
        for one in ones
        for other in others
    ]


def by_default(
    cases: Mapping[str, Any] | Iterable[Any], *chosen: Any, rest: pytest.MarkDecorator = pytest.mark.slow
) -> list[Any]:
    """Return all cases. The default run takes the chosen ones alone; those of a mapping go by their names."""
    named = dict(cases) if isinstance(cases, Mapping) else None
    cases = list(cases)
    assert chosen
    assert all(one in cases for one in chosen), "a chosen case is none"
    return [
        pytest.param(
            case if named is None else named[case],
            id=None if named is None else case,
            marks=() if case in chosen else rest,
        )
        for case in cases
    ]
