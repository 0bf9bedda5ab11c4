"""The tallies under test, and one way to run any of them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from mockexport.tally import Malformed, ReferenceTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TALLIES: dict[str, Any] = {"pure": ReferenceTally}
NATIVE: dict[str, Any] = {}
if os.environ.get("MOCKEXPORT_KERNEL") != "pure":
    try:
        from mockexport.tally import _native
    except ImportError:  # not built; that it must be is another test's claim
        pass
    else:
        NATIVE = {
            f"native-{name}": partial(_native.NativeTally, instructions=name) for name in _native.INSTRUCTION_SETS
        }
        TALLIES |= NATIVE
QUICK = ["pure", *list(NATIVE)[:1], "native-plain"]  # the reference, and the best and the plainest native one


def each(tallies: Mapping[str, Any]) -> list[Any]:
    """Parameters, one a tally: the default run takes the quick ones."""
    return [
        pytest.param(tally, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, tally in tallies.items()
    ]


HEADER = b"patient_id,event_time,event_type,value\n"
SOUND = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"
AROUND = 40  # sound rows before and behind a row in question: enough for more than one batch of the fast path

EVERY_CUT = 700  # bytes: bodies up to this long are cut in two at every place


class Outcome(NamedTuple):
    """What came of a body: the counts, or the problem."""

    patients: dict[str, dict[str, int]]
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
        return Outcome({}, {}, tally.rows, str(error))
    return Outcome(counts.patients, counts.left_out, tally.rows, None)


def run_with_all_cuts(new_tally: Callable[..., Any], body: bytes, **options: Any) -> Outcome:
    """Tally a body whole and cut in many ways, all of which must come to the same."""
    whole = run(new_tally, [body], **options)
    for size in (1, 7, 64, 100):
        chunks = (body[at : at + size] for at in range(0, len(body), size))
        assert run(new_tally, chunks, **options) == whole, f"cut into chunks of {size}"
    for at in range(1, len(body) if len(body) <= EVERY_CUT else 0):
        assert run(new_tally, [body[:at], body[at:]], **options) == whole, f"cut at {at}"
    return whole


@pytest.fixture(scope="session", params=each(TALLIES))
def new_tally(request: pytest.FixtureRequest) -> Any:
    """Each tally in turn, to be called with the options."""
    return request.param


@pytest.fixture(scope="session", params=each(NATIVE))
def new_native_tally(request: pytest.FixtureRequest) -> Any:
    """Each native tally in turn; what it promises beyond the contract."""
    return request.param


@pytest.fixture(scope="session")
def tally(new_tally: Callable[..., Any]) -> Callable[..., Outcome]:
    """`tally(body, **options)` gives the outcome, the same for all cuts."""
    return partial(run_with_all_cuts, new_tally)


@pytest.fixture(scope="session")
def all_tallies() -> dict[str, Callable[..., Any]]:
    """All tallies at once, to be compared."""
    return TALLIES


@pytest.fixture(scope="session")
def among() -> Callable[..., bytes]:
    """`among(row)` is a body with the row on line 42, 40 sound ones of P001 before it and 40 behind."""

    def put(row: bytes, line_end: bytes = b"\n") -> bytes:
        sound = SOUND.replace(b"\n", line_end) * AROUND
        return HEADER + sound + row + line_end + sound

    return put
