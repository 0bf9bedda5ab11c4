"""Both tallies come to the same, whatever the bytes and wherever they are cut; and to what csv.reader comes to."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.csv_strategies import BODIES, CUTS, HEADER, LIMITS, PAIRS, cut
from tests.seeds import examples

from mockexport.tally import Malformed


def trace(new_tally: Any, chunks: list[bytes], **options: Any) -> list[Any]:
    """Run a tally; tell how far it is after every chunk and what came at the end, a problem or the counts."""
    tally = new_tally(**options)
    told: list[Any] = []
    try:
        for chunk in chunks:
            tally.feed(chunk)
            told.append((tally.rows, tally.between_rows))
        counts = tally.finish()
        patients, left_out = counts.patients, counts.left_out
        told += [patients, left_out]
    except Malformed as error:
        told.append((error.line, error.reason))
    return [*told, tally.rows]


# ---- The claims ----


@examples(200, 10_000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans(), limit=LIMITS, pairs=PAIRS)
@example(body=HEADER + b"a,t,x,1\n" * 40 + b"\xff,t,x\n", cuts=[7], skip=False, limit=1 << 20, pairs=1)
def test_all_tallies_come_to_the_same(
    all_tallies: dict[str, Any], body: bytes, cuts: list[int], skip: bool, limit: int, pairs: int
) -> None:
    if len(all_tallies) == 1:
        pytest.skip("the native tally was not built, or is not wanted: nothing to compare with")
    limit = min(limit, (1 << 31) - 1)
    chunks = list(cut(body, cuts))
    options = {"skip": skip, "max_row_bytes": limit, "max_pairs": pairs}
    told = {name: trace(new, chunks, **options) for name, new in all_tallies.items()}
    assert all(each == told["pure"] for each in told.values()), told


@examples(60, 2000)
@given(body=BODIES, cuts=CUTS, skip=st.booleans(), limit=LIMITS, pairs=PAIRS)
def test_where_the_bytes_are_cut_changes_nothing(
    new_tally: Any, body: bytes, cuts: list[int], skip: bool, limit: int, pairs: int
) -> None:
    options = {"skip": skip, "max_row_bytes": min(limit, (1 << 31) - 1), "max_pairs": pairs}
    whole = trace(new_tally, [body], **options)
    pieces = trace(new_tally, list(cut(body, cuts)), **options)
    ends = 3 if isinstance(whole[-2], dict) else 2
    assert pieces[-ends:] == whole[-ends:]


FIELDS = st.text(st.one_of(st.sampled_from('ab,"\r\n\0é😀'), st.characters(exclude_categories=["Cs"])), max_size=20)
KEYS = FIELDS.filter(bool)


@examples(60, 2000)
@given(
    columns=st.permutations(["patient_id", "event_time", "event_type", "value", "comment", 'a "quoted", name\n']),
    rows=st.lists(st.tuples(KEYS, FIELDS, KEYS, FIELDS, FIELDS), max_size=12),
    times=st.integers(1, 5),
    style=st.sampled_from([(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_MINIMAL, "\r\n")]),
    cuts=CUTS,
)
def test_counts_are_those_of_the_csv_module(
    new_tally: Any,
    columns: list[str],
    rows: list[tuple[str, ...]],
    times: int,
    style: tuple[int, str],
    cuts: list[int],
) -> None:
    text = io.StringIO(newline="")
    quoting, line_end = style
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerow(columns)
    for patient, time, kind, value, comment in rows * times:
        fields = {"patient_id": patient, "event_time": time, "event_type": kind, "value": value, "comment": comment}
        writer.writerow([fields.get(column, "") for column in columns])

    expected: Counter[tuple[str, str]] = Counter()
    reader = csv.DictReader(io.StringIO(text.getvalue(), newline=""))
    expected.update((row["patient_id"], row["event_type"]) for row in reader)

    tally = new_tally()
    for chunk in cut(text.getvalue().encode(), cuts):
        tally.feed(chunk)
    counts = tally.finish()
    patients, left_out = counts.patients, counts.left_out
    assert {(patient, kind): n for patient, types in patients.items() for kind, n in types.items()} == expected
    assert (tally.rows, left_out) == (len(rows) * times, {})
