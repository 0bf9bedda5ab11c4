"""Both tallies come to the same, whatever the bytes and wherever they are cut; and to what csv.reader comes to."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.seeds import examples

from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = b"patient_id,event_time,event_type,value\n"

# ---- Bodies ----

HEADERS = st.sampled_from(
    [
        HEADER,
        HEADER,
        HEADER.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + HEADER,
        b'"value","event_type","event_time","patient_id"\n',
        b"event_type,event_time,value,patient_id\r\n",
        b"event_time,patient_id,x,y,event_type,value,z\n",
        b"patient_id,event_time,value\n",
        b"",
    ]
)
TOKENS = st.sampled_from(
    [
        b"a", b"b", b"S001", b",", b",", b",", b'"', b'""', b"\r", b"\n", b"\n", b"\r\n", b"\0",
        b"\xef", b"\xbb", b"\xbf", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
        b"a,t,x,1\n", b"b,t,y,1\r\n", b'"a",t,"x",1\n', b"p" * 17, b"t" * 70,
    ]
)  # fmt: skip
ANY_BYTES = st.builds(lambda head, tokens: head + b"".join(tokens), HEADERS, st.lists(TOKENS, max_size=60))

PATIENTS = st.sampled_from([b"S001", b"S002", b"P1234567", b"a-name-of-16-byt", b"a-name-of-17-byte", b"\xc3\x84"])
TYPES = st.sampled_from([b"bp_sys", b"spo2", b"heart_rate", b"x" * 16, b"x" * 17])
TIMES = st.sampled_from(
    [b"2025-08-26T00:00:04.906404Z", b"2025-08-26T00:00:04Z", b"", b"t" * 30, b"t" * 60, b"t" * 130]
)
ODDITIES = st.sampled_from(
    [
        b"", b"\n", b"\r", b"\r\n", b"\r\r\n", b'"', b",", b"S001,t,x\n", b"S001,t,x,1,\n", b",t,x,1\n", b"S001,t,,1\n",
        b"\xff,t,x,1\n", b"S001,t,\xc0\x80,1\n", b'"S001","t,\n",x,1\n', b'S"001,t,x,1\n', b'"S001"1,t,x,1\n',
        b"S001,t,x,1\r\n", b"S001,t,x\r,\r\n", b'S001,"t""",x,"1"\r\n', b'"S001"\r,t,x,1\n', b"p" * 90, b"," * 70,
    ]
)  # fmt: skip


@st.composite
def mostly_sound_bodies(draw: st.DrawFn) -> bytes:
    """Runs of sound rows, long enough for the fast path, with oddities between them or inside them."""
    columns = draw(st.permutations([b"patient_id", b"event_time", b"event_type", b"value"]))
    line_end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    body = b",".join(columns) + line_end
    for _ in range(draw(st.integers(0, 6))):
        fields = {
            b"patient_id": draw(PATIENTS),
            b"event_time": draw(TIMES),
            b"event_type": draw(TYPES),
            b"value": draw(st.sampled_from([b"7", b"120", b""])),
        }
        rows = (b",".join(fields[column] for column in columns) + line_end) * draw(st.integers(1, 50))
        if draw(st.booleans()):
            at = draw(st.integers(0, len(rows)))
            rows = rows[:at] + draw(ODDITIES) + rows[at + draw(st.integers(0, 2)) :]
        body += rows
    return body[: len(body) - draw(st.integers(0, 2))]


BODIES = st.one_of(ANY_BYTES, mostly_sound_bodies())
CUTS = st.one_of(
    st.just([1 << 20]), st.lists(st.integers(0, 300), min_size=1, max_size=8), st.lists(st.integers(1, 3), min_size=1)
)
PAIRS = st.sampled_from([10_000_000, 10_000_000, 10, 5, 3, 2, 1, 0])
LIMITS = st.sampled_from([1 << 20, 1 << 20, 1 << 20, 1 << 31, 200, 128, 100, 64, 63, 45, 41])


def cut(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Cut a body into chunks of these sizes, over and over."""
    at = 0
    for size in itertools.cycle([*sizes, 1] if not any(sizes) else sizes):
        yield body[at : at + size]
        at += size
        if at >= len(body):
            return


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
