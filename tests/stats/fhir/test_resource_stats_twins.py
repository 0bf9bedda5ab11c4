"""The twins come to the same: on any bytes when they are strict, and on rows that are JSON when they are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.csv_strategies import CUTS, cut
from tests.fhir.test_twins import LIMITS, TOKENS, broken_rows
from tests.seeds import examples
from tests.stats.fhir.conftest import DEFAULTS, STATS, run
from tests.stats.fhir.observations import observation_rows

pytestmark = pytest.mark.gate

ROWS = broken_rows(observation_rows())
BODIES = st.one_of(st.lists(ROWS, max_size=6).map(b"\n".join), st.lists(TOKENS, max_size=20).map(b"".join))
PAIRS = st.sampled_from([1_000_000, 1_000_000, 3, 2, 1, 0])


def trace(new_stats: Any, chunks: list[bytes], **options: Any) -> list[Any]:
    """Run an accumulator; tell whether each chunk ended between rows, and what came of all."""
    accumulator, told = new_stats(**DEFAULTS | options), []
    for chunk in chunks:
        try:
            accumulator.feed(chunk)
        except Exception:  # noqa: BLE001 - what comes of it is compared below
            break
        told.append((accumulator.rows, accumulator.between_rows))
    return [told, run(new_stats, chunks, **options)]


@examples(150, 20_000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans(), limit=LIMITS, pairs=PAIRS)
def test_strict_twins_come_to_the_same_on_any_bytes(
    *, body: bytes, cuts: list[int], skip: bool, limit: int, pairs: int
) -> None:
    options: dict[str, Any] = {"skip": skip, "max_row_bytes": limit, "max_pairs": pairs, "strict": True}
    chunks = list(cut(body, cuts))
    traces = {name: trace(new_stats, chunks, **options) for name, new_stats in STATS.items()}
    assert all(found == traces["pure"] for found in traces.values()), traces
    assert traces["pure"][-1] == run(STATS["pure"], [body], **options)


@examples(150, 20_000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans())
def test_what_is_not_strict_depends_on_neither_cuts_nor_instructions(
    *, body: bytes, cuts: list[int], skip: bool
) -> None:
    natives = [new_stats for name, new_stats in STATS.items() if name != "pure"]
    outcomes = [
        run(new_stats, chunks, skip=skip) for new_stats in natives for chunks in ([body], list(cut(body, cuts)))
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes)


@examples(150, 20_000)
@given(body=BODIES)
def test_what_is_strictly_sound_comes_to_the_same_when_not_strict(body: bytes) -> None:
    expected = run(STATS["pure"], [body])
    for new_stats in STATS.values():
        assert expected.problem is not None or run(new_stats, [body]) == expected
