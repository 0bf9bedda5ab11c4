"""`count` on FHIR resources: the tally on bytes in memory, and whole commands on files in the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import in_memory, instruction_sets, ndjson_duckdb, ndjson_orjson, ndjson_polars, ours
from tests.bench.data import link_export, resource_file

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup

TIMES = 100
LINKS = 5


def contests(setup: Setup) -> Generator[Contest, None, None]:
    small = resource_file(setup.folder / "fhir-memory" / "rows.ndjson", setup.in_memory)
    ways = [f"fhir-{name}" for name in instruction_sets("fhir")]
    yield Contest(
        "fhir-tally",
        f"The tally of FHIR resources: {small.size / 1e6:.0f} MB in memory",
        [
            *(in_memory(f"mockexport, {way}", way, small.path) for way in ways),
            in_memory("mockexport, strict", "fhir-strict", small.path),
            in_memory("orjson a line", "ndjson_orjson", small.path, setup.few),
            in_memory("mockexport, pure", "fhir-pure", small.path, 1),
        ],
        rows=small.rows,
        size=small.size,
        note="One core each; no start-up in the time. The first line is what is chosen on this machine.",
    )
    made = resource_file(setup.folder / "fhir-one" / "big" / "Observation.ndjson", setup.large)
    files = link_export(made, setup.folder / "fhir-links" / "big", LINKS)
    for name, root, paths in (
        ("fhir-large", setup.folder / "fhir-one", [made.path]),
        ("fhir-larger", setup.folder / "fhir-links", files),
    ):
        yield Contest(
            name,
            f"A folder with {len(paths)} NDJSON of {made.size / 1e9:.1f} GB",
            [
                ours("count", "big", "-s", root),
                ndjson_duckdb(paths),
                ndjson_polars(paths),
                ndjson_orjson(paths, rounds=1),
            ],
            rows=made.rows * len(paths),
            size=made.size * len(paths),
            note="Whole commands. DuckDB and Polars are told the columns. orjson takes one core, the others all.",
        )
