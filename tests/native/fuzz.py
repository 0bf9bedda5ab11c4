"""Run a native module, built with sanitizers, against its pure twin on seeded random input.

    python -m tests.native.fuzz tally|fhir|stats|fhir_stats|mock|sorting|keys|fhir_keys MODULE SEED ROUNDS

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

from tests.native.inputs import (
    COLUMNS,
    IDENTITIES,
    JSON_ODDITIES,
    OBSERVATION_ODDITIES,
    OBSERVATIONS,
    PATIENTS,
    RESOURCES,
    TYPES,
    cut,
    exactly,
    make_body,
    make_resources,
)

from mockexport.reconciliation import ReferenceCsvKeys, ReferenceResourceKeys
from mockexport.sorting import DISTINCT_WIDTH, GAPS_WIDTH, MAX_WIDTH, choose_distinct, choose_gaps, choose_sort
from mockexport.sources.mock.reference import ReferenceGenerator
from mockexport.sources.mock.specs import EventType, Plan
from mockexport.stats import (
    DEFAULT_RANGES,
    ReferenceResourceStats,
    ReferenceResourceTimes,
    ReferenceStats,
    ReferenceTimes,
    result,
)
from mockexport.tally import Malformed, ReferenceResourceTally, ReferenceTally

# ---- The tally ----


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
    fuzz_times(native, draw, chunks, {name: options[name] for name in ("columns", "skip", "max_row_bytes")})


class TakenTimes:
    """A reader of times as a tally: its result is its records, taken after some of the chunks and at the end."""

    def __init__(self, times: Any) -> None:
        self._times = times
        self._taken: list[bytes] = []

    @property
    def rows(self) -> int:
        rows: int = self._times.rows
        return rows

    def feed(self, chunk: Any) -> None:
        self._times.feed(chunk)
        if self.rows % 3:
            self._taken.append(self._times.take_records())

    def finish(self) -> list[bytes]:
        self._times.finish()
        return [*self._taken, self._times.take_records()]


def fuzz_times(native: Any, draw: random.Random, chunks: list[bytes], options: dict[str, Any]) -> None:
    """The second pass over the same body, for some of its pairs."""
    pairs = [(patient.decode(), name.decode()) for patient in PATIENTS for name in TYPES]
    pairs += [(f"{number:0{width}d}", "spo2") for width in (4, 30) for number in range(600)]
    chosen = draw.sample(pairs, draw.choice([0, 1, len(pairs) // 2, len(pairs)]))
    options["numbers"] = {pair: draw.randrange(1 << draw.choice([3, 32])) for pair in chosen}
    expected = tally_with(lambda **given: TakenTimes(ReferenceTimes(**given)), chunks, **options)
    seed = draw.choice([draw.randbytes(40), bytes(40), bytes(8) + b"spo2\0\0\0\0" * 2 + bytes(16)])
    exact = [exactly(chunk) for chunk in chunks]
    for instructions in native.INSTRUCTION_SETS:
        new = partial(native.NativeTimes, instructions=instructions, seed=seed)
        found = tally_with(lambda new=new, **given: TakenTimes(new(**given)), exact, **options)
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
    own = {name: options[name] for name in ("skip", "max_row_bytes", "base")}
    types = ["8867-4", "|8867-4", "a", "x", "Observation"]
    numbers = {(patient, name): draw.randrange(1 << 32) for patient in ("P1", "1", "2") for name in types}
    fuzz_resources(
        native,
        lambda **given: TakenTimes(native.NativeResourceTimes(numbers=numbers, **given)),
        lambda **given: TakenTimes(ReferenceResourceTimes(numbers=numbers, **given)),
        chunks,
        own,
    )


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
        edge_of_memory(native, partial(native.NativeTimes, columns=tuple(COLUMNS), numbers={("p", "type"): 1}))
    for number in range(int(rounds)):
        fuzzers[part](native, random.Random(f"{seed}-{number}"))


if __name__ == "__main__":
    main()
