"""The tally on bytes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import in_memory, instruction_sets, needs
from tests.bench.data import export_file

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup


TIMES = 200


def contests(setup: Setup) -> Generator[Contest, None, None]:
    made = export_file(setup.folder / "memory" / "rows.csv", setup.in_memory)
    native = [in_memory(f"mockexport, {name}", name, made.path) for name in instruction_sets()]
    yield Contest(
        "tally",
        f"The tally: {made.size / 1e6:.0f} MB in memory",
        [
            *native,
            in_memory("mockexport, pure", "pure", made.path, setup.few),
            in_memory("Polars, all cores", "polars_streaming", made.path, absent=needs("polars")),
            in_memory("csv.reader, Counter", "csv_counter", made.path, setup.few),
            in_memory("csv.DictReader", "csv_dictreader", made.path, setup.few),
        ],
        rows=made.rows,
        size=made.size,
        note="One core, except Polars, which has all of them. No start-up in the time; the memory is that of a whole "
        "process with these bytes in it. The first line is what is chosen on this machine. DuckDB doesn't read bytes.",
    )
    small = export_file(setup.folder / "memory" / "piece.csv", 1 << 18)
    yield Contest(
        "tally-cached",
        "The tally: 256 KiB again and again, as a count over a file has them",
        [in_memory(f"mockexport, {name}", name, small.path, times=TIMES) for name in instruction_sets()],
        rows=small.rows * TIMES,
        size=small.size * TIMES,
        note="From the core's own cache; one tally is fed the piece 200 times.",
    )
