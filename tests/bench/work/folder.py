"""`count` on a folder of CSV files: whole commands, start-up included, the files in the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import dict_reader, duckdb, mawk, ours, polars, reader_counter
from tests.bench.data import export_file, split_file

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.bench.contest import Contestant
    from tests.bench.data import Setup


def contests(setup: Setup) -> Generator[Contest, None, None]:
    made = export_file(setup.folder / "one" / "big" / "rows.csv", setup.large)
    yield Contest(
        "folder-large",
        f"A folder with one file of {made.size / 1e9:.1f} GB",
        contestants(setup.folder / "one", "big", [made.path], setup),
        rows=made.rows,
        size=made.size,
        note="Whole commands. csv.DictReader, csv.reader and mawk take one core, the others all of them.",
    )
    many = 100 if setup.quick else 1_000
    files = split_file(made, setup.folder / "many" / "cut", many)
    yield Contest(
        "folder-many",
        f"A folder with the same rows in {many:,} files",
        contestants(setup.folder / "many", "cut", files, setup)[:-1],
        rows=made.rows,
        size=made.size,
        note="csv.DictReader is left out: it takes as long as before.",
    )


def contestants(root: Path, export: str, files: list[Path], setup: Setup) -> list[Contestant]:
    return [
        ours("count", export, "-s", root),
        polars(files),
        duckdb(files),
        mawk(files, rounds=setup.few),
        reader_counter(files, rounds=1),
        dict_reader(files, rounds=1),
    ]
