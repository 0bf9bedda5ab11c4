"""Parameters of a test that tries each of one kind with each of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["pairs"]


def pairs(ones: Mapping[str, Any], others: Mapping[str, Any]) -> list[Any]:
    """Return all pairs. The default run takes each of either kind once, with the first of the other kind."""
    first, second = next(iter(ones)), next(iter(others))
    return [
        pytest.param(
            ones[one],
            others[other],
            id=f"{one}-{other}",
            marks=() if one == first or other == second else pytest.mark.slow,
        )
        for one in ones
        for other in others
    ]
