"""Run a native module, built with sanitizers, against its pure twin on seeded random input.

    python fuzz.py tally|fhir|stats|fhir_stats|mock|sorting|keys|fhir_keys MODULE SEED ROUNDS

The sanitizers end the process at the first wrong access; a difference between the twins ends it, too.
"""

from __future__ import annotations

import ctypes
import random
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from mockexport.reconciliation import ReferenceCsvKeys, ReferenceResourceKeys
from mockexport.sorting import DISTINCT_WIDTH, GAPS_WIDTH, MAX_WIDTH, choose_distinct, choose_gaps, choose_sort
from mockexport.sources.mock.reference import ReferenceGenerator
from mockexport.sources.mock.specs import EventType, Plan
from mockexport.stats import DEFAULT_RANGES, ReferenceResourceStats, ReferenceStats, result
from mockexport.tally import Malformed, ReferenceResourceTally, ReferenceTally

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


# ---- The tally ----


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


def tally_with(new_tally: Any, chunks: list[Any], **options: Any) -> list[Any]:
    tally = new_tally(**options)
    told: list[Any] = []
    try:
        for chunk in chunks:
            tally.feed(chunk)
            told.append(tally.rows)
        told.append(tally.finish())
    except Malformed as error:
        told.append(str(error))
    for call in (tally.finish, lambda: tally.feed(b"more")):
        try:
            call()
        except ValueError:
            continue
        raise AssertionError("a tally went on after its end")
    return [*told, tally.rows]


def fuzz_tally(native: Any, draw: random.Random) -> None:
    chunks = cut(draw, make_body(draw))
    options = {
        "skip": draw.random() < 0.7,
        "max_row_bytes": draw.choice([1 << 20, 1 << 20, 1 << 20, 300, 128, 64, 63]),
        "max_pairs": draw.choice([10**7, 10**7, 10**7, 100, 5, 1]),
    }
    expected = tally_with(ReferenceTally, chunks, **options)
    seed = draw.choice([draw.randbytes(40), bytes(40), bytes(8) + b"spo2\0\0\0\0" * 2 + bytes(16)])
    exact = [exactly(chunk) for chunk in chunks]
    assert native.INSTRUCTION_SETS
    for instructions in native.INSTRUCTION_SETS:
        found = tally_with(native.NativeTally, exact, instructions=instructions, seed=seed, **options)
        assert found == expected, (instructions, options, chunks, found, expected)


def fuzz_stats(native: Any, draw: random.Random) -> None:
    chunks = cut(draw, make_body(draw))
    options = {
        "columns": tuple(COLUMNS),
        "ranges": DEFAULT_RANGES,
        "now": draw.choice([0, 10**18]),
        "skip": draw.random() < 0.7,
        "max_row_bytes": draw.choice([1 << 20, 1 << 20, 1 << 20, 300, 128, 64, 63]),
        "max_pairs": draw.choice([10**6, 10**6, 10**6, 100, 5, 1]),
    }
    result.MAX_DISTINCT = draw.choice([4096, 5, 1])
    expected = tally_with(ReferenceStats, chunks, **options)
    seed = draw.choice([draw.randbytes(40), bytes(40)])
    exact = [exactly(chunk) for chunk in chunks]
    assert native.INSTRUCTION_SETS
    for instructions in native.INSTRUCTION_SETS:
        found = tally_with(native.NativeStats, exact, instructions=instructions, seed=seed, **options)
        assert found == expected, (instructions, options, chunks, found, expected)


def keys_with(new_keys: Any, chunks: list[Any], **options: Any) -> list[Any]:
    """Return what a tally gives, and the places of the records, each with a number for its key."""
    keys = new_keys(key=bytes(range(16)), download=70_000, **options)
    told = tally_with(lambda: keys, chunks)
    try:
        records = keys.take_records() + keys.take_ids()
    except ValueError:
        records = b""
    numbers: dict[bytes, int] = {}
    split = [records[at : at + 24] for at in range(0, len(records), 24)]
    return [told, [(numbers.setdefault(record[:16], len(numbers)), record[16:]) for record in split]]


def fuzz_keys(native: Any, draw: random.Random) -> None:
    chunks = cut(draw, make_body(draw))
    options = {
        "begin": draw.choice([None, 0]),
        "end": draw.choice([None, 10**18]),
        "max_row_bytes": draw.choice([1 << 20, 1 << 20, 1 << 20, 300, 128, 64, 63]),
    }
    expected = keys_with(ReferenceCsvKeys, chunks, **options)
    exact = [exactly(chunk) for chunk in chunks]
    assert native.INSTRUCTION_SETS
    for instructions in native.INSTRUCTION_SETS:
        found = keys_with(native.NativeCsvKeys, exact, instructions=instructions, **options)
        assert found[0] == expected[0], (instructions, options, chunks, found, expected)
        if not isinstance(expected[0][-2], str):  # after an error, what was read before is of no use
            assert found == expected, (instructions, options, chunks)


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


def fuzz_resources(native: Any, new_native: Any, reference: Any, chunks: list[bytes], options: dict[str, Any]) -> None:
    expected = tally_with(reference, chunks, **options)
    exact = [exactly(chunk) for chunk in chunks]
    assert native.INSTRUCTION_SETS
    assert tally_with(new_native, exact, strict=True, **options) == expected, (options, chunks, expected)
    outcomes = [
        tally_with(new_native, exact, instructions=instructions, **options) for instructions in native.INSTRUCTION_SETS
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes), (options, chunks, outcomes)


def fuzz_fhir(native: Any, draw: random.Random) -> None:
    options = {
        "skip": draw.random() < 0.7,
        "max_row_bytes": draw.choice([1 << 24, 1 << 24, 1 << 24, 300, 64, 2]),
        "max_pairs": draw.choice([10**7, 10**7, 5, 1]),
        "by": draw.choice(["type", "category", "code"]),
        "base": draw.choice([None, "https://a"]),
    }
    chunks = make_resources(draw, RESOURCES, JSON_ODDITIES)
    fuzz_resources(native, native.NativeResourceTally, ReferenceResourceTally, chunks, options)


def fuzz_fhir_stats(native: Any, draw: random.Random) -> None:
    options = {
        "ranges": DEFAULT_RANGES,
        "now": draw.choice([0, 10**18]),
        "skip": draw.random() < 0.7,
        "max_row_bytes": draw.choice([1 << 24, 1 << 24, 1 << 24, 300, 64, 2]),
        "max_pairs": draw.choice([10**6, 10**6, 5, 1]),
        "base": draw.choice([None, "https://a"]),
    }
    chunks = make_resources(draw, [*OBSERVATIONS * 3, *RESOURCES], [*OBSERVATION_ODDITIES * 2, *JSON_ODDITIES])
    fuzz_resources(native, native.NativeResourceStats, ReferenceResourceStats, chunks, options)


def fuzz_fhir_keys(native: Any, draw: random.Random) -> None:
    chunks = make_resources(draw, [*IDENTITIES, *RESOURCES], [b'"meta":{}', b'"id":"1"', *JSON_ODDITIES])
    options = {
        "begin": draw.choice([None, 0]),
        "end": draw.choice([None, 10**15]),
        "ids": draw.random() < 0.5,
        "max_row_bytes": draw.choice([1 << 24, 1 << 24, 300, 64]),
    }
    expected = keys_with(ReferenceResourceKeys, chunks, **options)
    exact = [exactly(chunk) for chunk in chunks]
    assert keys_with(native.NativeResourceKeys, exact, **options) == expected, (options, chunks)


def edge_of_memory(native: Any, new: Any) -> None:
    """End the chunk, and the memory, in all places around the 64 and 16 bytes that the fast path loads."""
    header = b"value,event_time,event_type,patient_id\n"
    for instructions in native.INSTRUCTION_SETS:
        for length in range(40, 70):
            row = b"7,%b,type,%b\n" % (b"t" * (length - 10), b"p" * (1 + length % 3))
            for size in range(60, 100):
                native_tally = new(instructions=instructions)
                native_tally.feed(header)
                native_tally.feed(exactly((row * 3)[:size]))


# ---- The generator ----


def make_plan(draw: random.Random) -> Plan:
    def name() -> str:
        return draw.choice(["", "P001", "x" * 29, "é" * 14, "n" * draw.randrange(30)])

    bounds = draw.choice([(0, 999), (30, 200), (500, 500), (0, 0)])
    return Plan(
        id="",
        seed=draw.randbytes(16),
        rows=draw.choice([0, 1, 2, 511, 512, 513, draw.randrange(1500)]),
        start=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw.randrange(200 * 366 * 86400 * 10**6)),
        step=timedelta(microseconds=draw.choice([0, 1, 300_000, 7_000_000, draw.randrange(86_400_000_001)])),
        patients=tuple(name() for _ in range(draw.randrange(1, 30))),
        event_types=tuple(
            EventType(name(), draw.choice([0, 75, -(10**6), 10**6]), draw.choice([0, 15, 1000]), *bounds)
            for _ in range(draw.randrange(1, 6))
        ),
    )


def read_all(generator: Any, sizes: list[int]) -> bytes:
    chunks: list[bytes] = []
    while chunk := generator.read(sizes[len(chunks) % len(sizes)]):
        chunks.append(chunk)
    return b"".join(chunks)


def fuzz_mock(native: Any, draw: random.Random) -> None:
    plan = make_plan(draw)
    sizes = [draw.choice([0, 1, 256, 300, 5000, 1 << 18]) for _ in range(3)]
    templates: Any = None
    if draw.random() < 0.5 and len(set(plan.event_types)) == len(plan.event_types):
        templates = [
            tuple(draw.randbytes(draw.choice([0, 1, 31, 32, 33, 300, 800])) for _ in range(5)) for _ in plan.event_types
        ]
    found = read_all(native.NativeGenerator(plan, templates), sizes)
    assert found == read_all(ReferenceGenerator(plan, templates), [1 << 18]), (plan, templates, sizes)


# ---- Sorting ----


def fold_with(new_fold: Any, blocks: list[Any]) -> list[Any]:
    folding, told = new_fold(), []
    for block in blocks:
        try:
            folding.feed(block)
        except ValueError as error:
            told.append(str(error))
    return [*told, folding.finish()]


def fuzz_sorting(native: Any, draw: random.Random) -> None:
    kind = draw.choice([b"\0", b"\0\1", b"\0" * 9 + b"\1", bytes(range(256))])
    width = draw.choice([GAPS_WIDTH, DISTINCT_WIDTH, draw.randrange(1, MAX_WIDTH + 1)])
    records = bytes(draw.choices(kind, k=width * draw.choice([0, 1, 2, 47, 48, 49, draw.randrange(3000)])))
    found, expected = bytearray(records), bytearray(records)
    native.sort_records((ctypes.c_char * len(found)).from_buffer(found) if found else found, width)
    choose_sort("pure")(expected, width)
    assert found == expected, (width, records)
    blocks = cut(draw, bytes(found))
    for here, choose, new_fold in (
        (GAPS_WIDTH, choose_gaps, native.NativeGaps),
        (DISTINCT_WIDTH, choose_distinct, native.NativeDistinct),
    ):
        if draw.random() < 0.8:  # else half a record now and then
            blocks = [bytes(found)[at : at + 5 * here] for at in range(0, len(found) // here * here, 5 * here)]
        assert fold_with(new_fold, [exactly(block) for block in blocks]) == fold_with(choose("pure"), blocks), blocks


def main() -> None:
    part, path, seed, rounds = sys.argv[1:]
    spec = spec_from_file_location(f"mockexport.{part}.{Path(path).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    native = module_from_spec(spec)
    spec.loader.exec_module(native)
    fuzzers: dict[str, Any] = {
        "tally": fuzz_tally,
        "fhir": fuzz_fhir,
        "stats": fuzz_stats,
        "fhir_stats": fuzz_fhir_stats,
        "mock": fuzz_mock,
        "sorting": fuzz_sorting,
        "keys": fuzz_keys,
        "fhir_keys": fuzz_fhir_keys,
    }
    if part == "tally":
        edge_of_memory(native, native.NativeTally)
    if part == "stats":
        edge_of_memory(native, partial(native.NativeStats, columns=tuple(COLUMNS), ranges=DEFAULT_RANGES, now=0))
    for number in range(int(rounds)):
        fuzzers[part](native, random.Random(f"{seed}-{number}"))


if __name__ == "__main__":
    main()
