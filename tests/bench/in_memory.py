"""Count bytes that are in memory already: `python -m tests.bench.in_memory WAY FILE [TIMES]` tells how long it took.

A way is one of the native tally's instruction sets, `pure`, such a way of the tally of FHIR resources (`fhir-avx2`,
`fhir-strict`), `stats-auto` and `stats-pure` for statistics, or the name of a peer's module. The bytes are gone through
as often as it takes for half a second, once at least; the time is the median of these passes. With TIMES, a tally is
fed the rows so many times over, as if they were one body.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mockexport.tally import ResourceTally, Tally

    Count = Callable[[bytes], Mapping[tuple[str, str], int]]

CHUNK = 1 << 18
ENOUGH_SECONDS = 0.5


def way(name: str, times: int) -> Count:
    if name == "pure":
        from mockexport.tally import ReferenceTally

        return partial(tally_bytes, ReferenceTally, times)
    if name.startswith("fhir-"):
        return partial(tally_resources, resource_tally(name.removeprefix("fhir-")))
    if name.startswith("stats-"):
        return partial(stats_of_bytes, name.removeprefix("stats-"))
    from mockexport.tally import _native

    if name in _native.INSTRUCTION_SETS:
        return partial(tally_bytes, partial(_native.NativeTally, instructions=name), times)
    count: Count = importlib.import_module(f"tests.bench.peers.{name}").count_bytes
    return count


def resource_tally(name: str) -> Callable[[], ResourceTally]:
    from mockexport.tally import ReferenceResourceTally
    from mockexport.tally.fhir import _native

    if name == "pure":
        return ReferenceResourceTally
    if name == "strict":
        return partial(_native.NativeResourceTally, strict=True)
    return partial(_native.NativeResourceTally, instructions=name)


def stats_of_bytes(kernel: str, data: bytes) -> dict[tuple[str, str], int]:
    from mockexport.stats import CsvStatsSpec

    accumulator, rows = CsvStatsSpec(1 << 60, kernel).new(), memoryview(data)
    for at in range(0, len(rows), CHUNK):
        accumulator.feed(bytes(rows[at : at + CHUNK]))
    return {pair: stats.records for pair, stats in accumulator.finish().pairs.items()}


def tally_resources(new_tally: Callable[[], ResourceTally], data: bytes) -> dict[tuple[str, str], int]:
    tally, rows = new_tally(), memoryview(data)
    for at in range(0, len(rows), CHUNK):
        tally.feed(rows[at : at + CHUNK])  # type: ignore[arg-type]  # any buffer does
    return {(p, t): n for p, types in tally.finish().patients.items() for t, n in types.items()}


def tally_bytes(new_tally: Callable[[], Tally], times: int, data: bytes) -> dict[tuple[str, str], int]:
    tally, rows = new_tally(), memoryview(data)
    for _ in range(times):
        for at in range(0, len(rows), CHUNK):
            tally.feed(rows[at : at + CHUNK])  # type: ignore[arg-type]  # any buffer does
        rows = memoryview(data)[data.index(b"\n") + 1 :]  # the header comes once
    return {(p, t): n for p, types in tally.finish().patients.items() for t, n in types.items()}


def main() -> None:
    count = way(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    data = Path(sys.argv[2]).read_bytes()
    seconds: list[float] = []
    end = time.perf_counter() + ENOUGH_SECONDS
    while not seconds or time.perf_counter() < end:
        started = time.perf_counter()
        counts = count(data)
        seconds.append(time.perf_counter() - started)
    print(statistics.median(seconds))
    for (patient, kind), records in counts.items():
        print(patient, kind, records, sep=",")
    print("", "", sum(counts.values()), sep=",")


if __name__ == "__main__":
    main()
