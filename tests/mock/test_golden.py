"""The bytes of the made-up exports, and their counts, against an independent implementation."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from mockexport.sources.mock import ReferenceGenerator
from mockexport.sources.mock.specs import plans
from mockexport.tally import ReferenceTally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.sources.mock.specs import Plan

CHUNK_BYTES = 1 << 18
SMALL = pytest.param("small", "4", marks=pytest.mark.slow)  # seconds, in plain Python
LARGER = [pytest.param("small", "0", marks=pytest.mark.slow), pytest.param("large", "3", marks=pytest.mark.slow)]


def chunks_of(new_generator: Any, plan: Plan) -> Iterator[bytes]:
    generator = new_generator(plan)
    while chunk := generator.read(CHUNK_BYTES):
        yield chunk


def assert_bytes_are_golden(new_generator: Any, export: str, number: str, golden: Any) -> None:
    expected = golden[export]["downloads"][number]
    digest, length = hashlib.sha256(), 0
    for chunk in chunks_of(new_generator, plans(export)[int(number)]):
        digest.update(chunk)
        length += len(chunk)
    assert (length, digest.hexdigest()) == (expected["bytes"], expected["sha256"])


@pytest.mark.parametrize(("export", "number"), [("demo", "0"), ("demo", "1"), SMALL])
def test_the_pure_generator_gives_the_golden_bytes(golden: Any, export: str, number: str) -> None:
    assert_bytes_are_golden(ReferenceGenerator, export, number, golden)


@pytest.mark.parametrize(("export", "number"), [("demo", "0"), ("demo", "1"), ("small", "4"), *LARGER])
def test_the_native_generator_gives_the_golden_bytes(
    native_generator: Any, golden: Any, export: str, number: str
) -> None:
    assert_bytes_are_golden(native_generator, export, number, golden)


def assert_counts_are_golden(new_generator: Any, new_tally: Any, export: str, number: str, golden: Any) -> None:
    expected = golden[export]["downloads"][number]
    tally = new_tally()
    for chunk in chunks_of(new_generator, plans(export)[int(number)]):
        tally.feed(chunk)
    counts = tally.finish()
    by_pair = {f"{patient}/{kind}": n for patient, types in counts.patients.items() for kind, n in types.items()}
    assert by_pair == expected["counts"]
    assert (tally.rows, counts.left_out) == (expected["rows"], {})


@pytest.mark.parametrize(("export", "number"), [("demo", "0"), ("demo", "1"), SMALL])
def test_the_pure_tally_gives_the_golden_counts(fast_generator: Any, golden: Any, export: str, number: str) -> None:
    assert_counts_are_golden(fast_generator, ReferenceTally, export, number, golden)


@pytest.mark.parametrize(("export", "number"), [("demo", "0"), ("demo", "1"), ("small", "4"), *LARGER])
def test_the_native_tally_gives_the_golden_counts(native_generator: Any, golden: Any, export: str, number: str) -> None:
    native = pytest.importorskip("mockexport.tally._native", reason="the native tally was not built")
    for instructions in native.INSTRUCTION_SETS:
        new_tally = lambda instructions=instructions: native.NativeTally(instructions=instructions)  # noqa: E731
        assert_counts_are_golden(native_generator, new_tally, export, number, golden)


@pytest.mark.parametrize("export", ["demo", "small", pytest.param("large", marks=pytest.mark.slow)])
def test_a_whole_export_gives_the_golden_totals(native_generator: Any, golden: Any, export: str) -> None:
    native = pytest.importorskip("mockexport.tally._native", reason="the native tally was not built")

    def count(plan: Plan) -> tuple[int, Counter[str]]:
        tally, length, totals = native.NativeTally(), 0, Counter[str]()
        for chunk in chunks_of(native_generator, plan):
            length += len(chunk)
            tally.feed(chunk)
        for types in tally.finish().patients.values():
            totals.update(types)
        return length, totals

    with ThreadPoolExecutor(4) as pool:
        counted = list(pool.map(count, plans(export)))
    assert sum(length for length, _ in counted) == golden[export]["bytes"]
    assert sum((totals for _, totals in counted), start=Counter()) == golden[export]["totals"]
