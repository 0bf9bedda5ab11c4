"""`stats` on CSV: the accumulator on bytes in memory, and whole commands on a file in the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import in_memory, ours, stats_duckdb, stats_polars
from tests.bench.data import export_file

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup


def contests(setup: Setup) -> Generator[Contest, None, None]:
    small = export_file(setup.folder / "stats-memory" / "rows.csv", setup.in_memory)
    yield Contest(
        "stats-memory",
        f"Statistics: {small.size / 1e6:.0f} MB in memory",
        [
            in_memory("mockexport", "stats-auto", small.path),
            in_memory("mockexport, pure", "stats-pure", small.path, 1),
        ],
        rows=small.rows,
        size=small.size,
        note="One core each; no start-up in the time.",
    )
    made = export_file(setup.folder / "stats-one" / "big" / "rows.csv", setup.large)
    yield Contest(
        "stats-large",
        f"Statistics of one file of {made.size / 1e9:.1f} GB",
        [
            ours("stats", "big", "-s", setup.folder / "stats-one"),
            stats_duckdb([made.path], setup.few),
            stats_polars([made.path], setup.few),
        ],
        rows=made.rows,
        size=made.size,
        note="Whole commands, all cores. All compute count, mean, minimum, maximum, standard deviation, quantiles, "
        "anomalies, latency, first time and longest gap by patient and type; the answers agree to six digits. We also "
        "have the totals, duplicates, out of order and future.",
    )
