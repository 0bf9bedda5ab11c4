"""Bodies for `fuzz.py`: mostly sound, with oddities, made of a seed; and ways to cut them."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

__all__ = [
    "COLUMNS", "IDENTITIES", "JSON_ODDITIES", "OBSERVATIONS", "OBSERVATION_ODDITIES", "PATIENTS", "RESOURCES", "TYPES",
    "cut", "exactly", "make_body", "make_resources",
]  # fmt: skip

COLUMNS = [b"patient_id", b"event_time", b"event_type", b"value"]
PATIENTS = [b"S001", b"S002", b"P1234567", b"a-name-of-16-byt", b"a-name-of-17-byte", b"n" * 80, "Zoë".encode(), b"\0"]
TYPES = [b"bp_sys", b"spo2", b"heart_rate", b"x" * 16, b"x" * 17, b"\r"]
TIMES = [
    b"2025-08-26T00:00:04.906404Z",
    b"2025-08-26T00:00:04Z",
    b"2025-08-25T10:00:00+02:00",
    b"2025-08",
    b"",
    b"t" * 30,
    b"t" * 60,
    b"t" * 130,
]
VALUES = [b"7", b"120", b"36.6", b"-0.50", b"", b"1e3", b"1.e", b"123456789", b"9" * 30, b"5e-324", b"1e309", b"0"]
ODDITIES = [
    b"", b"\n", b"\r", b"\r\n", b"\r\r\n", b'"', b'""', b",", b",,", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f",
    b"\xef\xbb\xbf", b"S001,t,x\n", b"S001,t,x,1,\n", b",t,x,1\n", b"S001,t,,1\n", b"S001,t,\xff,1\n",
    b'"S001","t,\n",x,1\n', b'S001,"t""",x,"1"\r\n', b'"S001"\r,t,x,1\n',
    b"p" * 90, b"," * 70, b"\n" * 70, b'"\n",' * 30,
]  # fmt: skip


def exactly(chunk: bytes) -> Any:
    """Copy a chunk to memory of just its size, so that reading a byte too far is seen."""
    return memoryview((ctypes.c_char * len(chunk)).from_buffer_copy(chunk)) if chunk else chunk


def make_body(draw: random.Random) -> bytes:
    columns = draw.sample(COLUMNS, 4) + [b"extra"] * draw.choice([0, 0, 1, 70])
    draw.shuffle(columns)
    line_end = draw.choice([b"\n", b"\n", b"\r\n"])
    body = draw.choice([b"", b"", b"\xef\xbb\xbf", b"\n"]) + b",".join(columns) + line_end
    for _ in range(draw.randrange(8)):
        rows = b""
        for _ in range(draw.randrange(1, 70)):
            fields = {
                b"patient_id": draw.choice(PATIENTS),
                b"event_time": draw.choice(TIMES),
                b"event_type": draw.choice(TYPES),
                b"value": draw.choice(VALUES),
            }
            rows += b",".join(fields.get(column, b"") for column in columns) + line_end
        for _ in range(draw.choice([0, 0, 1, 3])):
            at = draw.randrange(len(rows) + 1)
            rows = rows[:at] + draw.choice(ODDITIES) + rows[at + draw.randrange(3) :]
        body += rows
    if draw.random() < 0.1:  # enough different ones for the table to take another seed, where all share a hash
        names = [b"%0*d" % (draw.choice([4, 30]), number) for number in range(600)] * 2
        draw.shuffle(names)
        for name in names:
            fields = {b"patient_id": name, b"event_type": b"spo2"}
            body += b",".join(fields.get(column, b"") for column in columns) + line_end
    if draw.random() < 0.1:  # enough different ones for the table to grow
        body += b"".join(b"%d,%d,%d,%d\n" % ((draw.randrange(1 << 30),) * 4) for _ in range(500))
    return body[: len(body) - draw.randrange(4)]


def cut(draw: random.Random, body: bytes) -> list[bytes]:
    sizes = draw.choice([(len(body),), (1,), (1, 2, 3), (60, 70, 80), (500, 0, 900)])
    chunks, at = [], 0
    while at < len(body):
        size = draw.choice(sizes)
        chunks.append(body[at : at + size])
        at += size
    return chunks


# ---- Resources ----


RESOURCES = [
    b'{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/P1"},"code":{"coding":[{"code":"8867-4"}]}}',
    b'{"id":"1","contained":[{"resourceType":"Group","id":"2"}],"resourceType":"Patient","text":{"div":"\\"<p>\\u00e9"}}',
    b'{"resourceType":"Appointment","participant":[{"actor":{"reference":"Device/1"}},{"actor":{"reference":"Patient/2"}}]}',
    b'{"resourceType":"Account","subject":[{"reference":"https://a/Patient/1/_history/2"}],"code":{"text":"\\ud83d\\ude00"}}',
    '{"resourceType":"DocumentReference","x":"Zoë","subject":{"reference":"urn:uuid:1"},"category":["a"]}'.encode(),
]
JSON_ODDITIES = [
    *ODDITIES, b"{", b"}", b"[", b"]", b":", b"\\", b"\\u", b"\\ud800", b"\\u00", b"\0", b"[" * 70, b'{"a":' * 1100,
    b"]" * 70, b"tru", b"-", b"1e", b'"subject":', b'"resourceType":"', b"A" * 300,
]  # fmt: skip


OBSERVATIONS = [
    (
        b'{"resourceType":"Observation","subject":{"reference":"Patient/P1"},"code":{"coding":[{"code":"8867-4"}]},'
        b'"effectiveDateTime":"2025-08-26T00:00:04.906404Z","valueQuantity":{"value":71,"unit":"/min"}}'
    ),
    (
        b'{"resourceType":"Observation","component":[{"code":{"text":"a"},"valueQuantity":{"value":-7.10e1}},{}],'
        b'"effectivePeriod":{"start":"2025-08"},"effectiveInstant":"2025\\u002d08-26","valueQuantity":{"value":120}}'
    ),
]
IDENTITIES = [
    b'{"resourceType":"Group","id":"1","meta":{"versionId":"2","lastUpdated":"2025-08-26","tag":[{"code":"SUBSETTED"}]}}',
    b'{"resourceType":"Group","id":"\\u0031","meta":{"lastUpdated":"2025-13","tag":{"code":"\\ud800"},"versionId":"\\u0032"}}',
]
OBSERVATION_ODDITIES = [
    b'"valueQuantity":{"value":', b'"component":[', b'"component":{}', b'"effectiveInstant":"2024"', b'"value":1',
    b"9" * 30, b"e400", b".5", b",{}", b'"code":"x",', b'"start":"2025"', b'"effectivePeriod":{}',
]  # fmt: skip


def make_resources(draw: random.Random, rows: list[bytes], oddities: list[bytes]) -> list[bytes]:
    body = draw.choice([b"", b"\xef\xbb\xbf"])
    for _ in range(draw.randrange(8)):
        row = draw.choice(rows)
        for _ in range(draw.choice([0, 0, 1, 2])):
            at = draw.randrange(len(row) + 1)
            row = row[:at] + draw.choice(oddities) + row[at + draw.randrange(4) :]
        body += row + draw.choice([b"\n", b"\n", b"\r\n", b""])
    return cut(draw, body)
