"""The generator, and `count` on the mock source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.bench.contest import Contest, Contestant
from tests.bench.contestants import instruction_sets, ours
from tests.bench.data import MOCK_ROWS
from tests.bench.launch import CHILD, launch_timed_inside

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup

NATIVE_ROWS, PURE_ROWS = 5_000_000, 200_000


def contests(setup: Setup) -> Generator[Contest, None, None]:
    yield Contest(
        "generator",
        "The generator, one core",
        [
            generator("mockexport, native", "native", "csv", NATIVE_ROWS),
            generator("mockexport, native, as FHIR", "native", "fhir", NATIVE_ROWS),
            generator("mockexport, pure", "pure", "csv", PURE_ROWS),
        ],
        note=f"{NATIVE_ROWS:,} rows, of the pure one {PURE_ROWS:,}; 600 bytes a row as FHIR; no start-up in the time.",
    )
    yield Contest(
        "mock-small",
        "The mock source: the export small",
        [
            ours("count", "small"),
            ours("count", "small", name="mockexport, pure", rounds=1, MOCKEXPORT_KERNEL="pure"),
        ],
        rows=MOCK_ROWS["small"],
    )
    if not setup.quick:
        yield Contest(
            "mock-large", "The mock source: the export large", [ours("count", "large")], rows=MOCK_ROWS["large"]
        )


def generator(name: str, kernel: str, written: str, rows: int) -> Contestant:
    work = partial(launch_timed_inside, *CHILD, "tests.bench.generate", kernel, written, rows)
    absent = "not built" if kernel == "native" and not instruction_sets() else ""
    return Contestant(name, work, absent=absent, answers=False, rows=rows)
