"""The accumulators of the statistics of FHIR under test, and one way to run any of them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mockexport.stats import DEFAULT_RANGES, ReferenceResourceStats, Stats
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

STATS: dict[str, Any] = {"pure": ReferenceResourceStats}

if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.stats import _fhir_native
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        STATS |= {
            f"native-{name}": partial(_fhir_native.NativeResourceStats, instructions=name)
            for name in _fhir_native.INSTRUCTION_SETS
        }

NOW = 1_756_166_400_000_000  # 2025-08-26
DEFAULTS: dict[str, Any] = {"ranges": DEFAULT_RANGES, "now": NOW}


class Outcome(NamedTuple):
    """What came of a body: the statistics, or the problem."""

    stats: Stats | None
    rows: int
    problem: str | None


def run(new_stats: Any, chunks: Iterable[bytes], **options: Any) -> Outcome:
    """Run an accumulator over a body."""
    accumulator = new_stats(**DEFAULTS | options)
    try:
        for chunk in chunks:
            accumulator.feed(chunk)
        return Outcome(accumulator.finish(), accumulator.rows, None)
    except Malformed as error:
        return Outcome(None, accumulator.rows, str(error))


@pytest.fixture(scope="session", params=list(STATS))
def new_stats(request: pytest.FixtureRequest) -> Any:
    """Each accumulator in turn, to be called with the options."""
    return STATS[request.param]
