"""CSV bodies for hypothesis: any bytes, and mostly sound rows with oddities in between; and ways to cut them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BODIES", "CUTS", "HEADER", "LIMITS", "ODDITIES", "PAIRS", "PATIENTS", "TYPES", "bodies", "cut"]

HEADER = b"patient_id,event_time,event_type,value\n"

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


VALUES = st.sampled_from([b"7", b"120", b""])


@st.composite
def mostly_sound_bodies(draw: st.DrawFn, times: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]) -> bytes:
    """Runs of sound rows, long enough for the fast path, with oddities between them or inside them."""
    columns = draw(st.permutations([b"patient_id", b"event_time", b"event_type", b"value"]))
    line_end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    body = b",".join(columns) + line_end
    for _ in range(draw(st.integers(0, 6))):
        fields = {
            b"patient_id": draw(PATIENTS),
            b"event_time": draw(times),
            b"event_type": draw(TYPES),
            b"value": draw(values),
        }
        rows = (b",".join(fields[column] for column in columns) + line_end) * draw(st.integers(1, 50))
        if draw(st.booleans()):
            at = draw(st.integers(0, len(rows)))
            rows = rows[:at] + draw(ODDITIES) + rows[at + draw(st.integers(0, 2)) :]
        body += rows
    return body[: len(body) - draw(st.integers(0, 2))]


def bodies(
    times: st.SearchStrategy[bytes] = TIMES, values: st.SearchStrategy[bytes] = VALUES
) -> st.SearchStrategy[bytes]:
    """Bodies, whose rows have such times and values where they are sound."""
    return st.one_of(ANY_BYTES, mostly_sound_bodies(times, values))


BODIES = bodies()
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
