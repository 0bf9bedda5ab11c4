"""The twins come to the same: on any bytes when they are strict, and on rows that are JSON when they are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.csv_strategies import CUTS, cut
from tests.fhir.conftest import TALLIES, run
from tests.fhir.resources import ROWS
from tests.seeds import examples

SOUND = b'{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/1"},"code":{"text":"x"}}'
TOKENS = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b":", b",", b'"', b'\\"', b"\\", b"\\u0069d", b"\\ud83d\\ude00", b"\\ud800", b"\\x",
        b'"resourceType"', b'"Observation"', b'"Patient"', b'"id"', b'"subject"', b'"reference"', b'"Patient/1"',
        b'"code"',
        b'"coding"', b'"text"', b"0", b"-1.5e3", b"01", b"1.", b"true", b"nul", b" ", b"\t", b"\r", b"\n", b"\n", b"\0",
        b"\x7f", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"[" * 70, b"]" * 70, b'{"a":' * 70, b"}" * 70,
        SOUND, SOUND + b"\n", b"a" * 64,
    ]
)  # fmt: skip


@st.composite
def broken_rows(draw: st.DrawFn, rows: st.SearchStrategy[bytes] = ROWS) -> bytes:
    """A sound row with something put in, or taken out."""
    row = draw(st.one_of(rows, st.just(SOUND)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(row)))
        row = row[:at] + draw(st.one_of(st.just(b""), TOKENS)) + row[at + draw(st.integers(0, 3)) :]
    return row


BODIES = st.one_of(
    st.lists(TOKENS, max_size=40).map(b"".join),
    st.lists(st.one_of(broken_rows(), st.just(SOUND)), max_size=6).map(b"\n".join),
)
LIMITS = st.sampled_from([1 << 24, 1 << 24, 300, 100, 64, 3, 2, 1, 0])
PAIRS = st.sampled_from([10_000_000, 10_000_000, 3, 2, 1, 0])
BY = st.sampled_from(["type", "category", "code"])


def trace(new_tally: Any, chunks: list[bytes], **options: Any) -> list[Any]:
    """Run a tally; tell whether each chunk ended between rows, and what came of all."""
    tally, told = new_tally(**options), []
    for chunk in chunks:
        try:
            tally.feed(chunk)
        except Exception:  # noqa: BLE001 - what comes of it is compared below
            break
        told.append((tally.rows, tally.between_rows))
    return [told, run(new_tally, chunks, **options)]


@examples(100, 20_000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans(), limit=LIMITS, pairs=PAIRS, by=BY)
@example(body=b"\n12345\n", cuts=[1 << 20], skip=False, limit=3, pairs=1, by="type")
def test_strict_twins_come_to_the_same_on_any_bytes(
    *, body: bytes, cuts: list[int], skip: bool, limit: int, pairs: int, by: str
) -> None:
    options: dict[str, Any] = {"skip": skip, "max_row_bytes": limit, "max_pairs": pairs, "by": by, "strict": True}
    chunks = list(cut(body, cuts))
    traces = {name: trace(new_tally, chunks, **options) for name, new_tally in TALLIES.items()}
    assert all(found == traces["pure"] for found in traces.values()), traces
    whole = run(TALLIES["pure"], [body], **options)
    assert traces["pure"][-1] == whole


@examples(100, 20_000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans(), by=BY)
def test_what_is_not_strict_depends_on_neither_cuts_nor_instructions(
    *, body: bytes, cuts: list[int], skip: bool, by: str
) -> None:
    natives = [new_tally for name, new_tally in TALLIES.items() if name != "pure"]
    outcomes = [
        run(new_tally, chunks, skip=skip, by=by) for new_tally in natives for chunks in ([body], list(cut(body, cuts)))
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.gate
@examples(100, 20_000)
@given(body=BODIES, by=BY)
def test_what_is_strictly_sound_counts_the_same_when_not_strict(*, body: bytes, by: str) -> None:
    expected = run(TALLIES["pure"], [body], by=by)
    for new_tally in TALLIES.values():
        outcome = run(new_tally, [body], by=by)
        if expected.problem is None:
            assert outcome == expected
        elif outcome.problem is not None:  # the first problem, or one behind it
            assert int(outcome.problem.split(":")[0].split()[-1]) >= int(expected.problem.split(":")[0].split()[-1])
