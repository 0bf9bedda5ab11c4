"""The tallies of FHIR resources under test, and one way to run any of them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mockexport.tally import Malformed, ReferenceResourceTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TALLIES: dict[str, Any] = {"pure": ReferenceResourceTally}
if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.tally.fhir import _native
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        TALLIES |= {
            f"native-{name}": partial(_native.NativeResourceTally, instructions=name)
            for name in _native.INSTRUCTION_SETS
        }

EVERY_CUT = 400  # bytes: bodies up to this long are cut in two at every place


class Outcome(NamedTuple):
    """What came of a body: the counts, or the problem."""

    patients: dict[str, dict[str, int]]
    unassigned: dict[str, dict[str, int]]
    left_out: dict[str, int]
    rows: int
    problem: str | None


def run(new_tally: Callable[..., Any], chunks: Iterable[bytes], **options: Any) -> Outcome:
    tally = new_tally(**options)
    try:
        for chunk in chunks:
            tally.feed(chunk)
        counts = tally.finish()
    except Malformed as error:
        return Outcome({}, {}, {}, tally.rows, str(error))
    return Outcome(counts.patients, counts.unassigned, counts.left_out, tally.rows, None)


def run_with_all_cuts(new_tally: Callable[..., Any], body: bytes, **options: Any) -> Outcome:
    """Tally a body whole and cut in many ways, all of which must come to the same."""
    whole = run(new_tally, [body], **options)
    for size in (1, 7, 64, 100):
        chunks = (body[at : at + size] for at in range(0, len(body), size))
        assert run(new_tally, chunks, **options) == whole, f"cut into chunks of {size}"
    for at in range(1, len(body) if len(body) <= EVERY_CUT else 0):
        assert run(new_tally, [body[:at], body[at:]], **options) == whole, f"cut at {at}"
    return whole


@pytest.fixture(scope="session", params=list(TALLIES))
def new_tally(request: pytest.FixtureRequest) -> Any:
    """Each tally in turn, to be called with the options."""
    return TALLIES[request.param]


@pytest.fixture(scope="session")
def tally(new_tally: Callable[..., Any]) -> Callable[..., Outcome]:
    """`tally(body, **options)` gives the outcome, the same for all cuts."""
    return partial(run_with_all_cuts, new_tally)


@pytest.fixture(scope="session")
def all_tallies() -> dict[str, Any]:
    """All tallies at once, to be compared."""
    return TALLIES
