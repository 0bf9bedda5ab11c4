"""How time and memory grow: with rows, patients, row length, downloads and cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.bench.contest import Contest
from tests.bench.contestants import in_memory, instruction_sets, needs, ours, polars
from tests.bench.data import export_file, link_export, repeat_rows, split_file
from tests.bench.launch import CHILD
from tests.bench.work.http import serving

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Made, Setup


def contests(setup: Setup) -> Generator[Contest, None, None]:
    yield from rows(setup)
    yield from patients(setup)
    yield from row_length(setup)
    yield from downloads(setup)
    yield from cores(setup)


def rows(setup: Setup) -> Generator[Contest, None, None]:
    million = export_file(setup.folder / "million" / "rows.csv", 45_000_000)
    large = export_file(setup.folder / "one" / "big" / "rows.csv", setup.large)
    for number, (made, files) in enumerate(((million, 1), (large, 1), (large, 7))):
        paths = link_export(made, setup.folder / "rows" / str(number), files)
        total = made.rows * files
        yield Contest(
            f"rows-{number}",
            "Growth with rows: files of a folder",
            [ours("count", number, "-s", setup.folder / "rows"), polars(paths)],
            rows=total,
            size=made.size * files,
            note="Whole commands; the last line is the large file seven times.",
            series="rows",
            point=f"{total / 1e6:,.0f} million",
        )


def patients(setup: Setup) -> Generator[Contest, None, None]:
    for number in (20, 1_000, 10_000, 100_000):
        lines = (b"P%06d,2025-08-26T00:00:04.906404Z,heart_rate,71\n" % (n * 7919 % number) for n in range(1_000_000))
        path = setup.folder / "patients" / f"{number}.csv"
        made = export_file(path, 4 * setup.in_memory, repeat_rows(b"".join(lines)))
        yield in_memory_contest(
            made, "patients", f"{number:,}", "Growth with distinct patients, in a scattered order: bytes in memory"
        )


def row_length(setup: Setup) -> Generator[Contest, None, None]:
    for length in (30, 60, 120, 300, 1_000):
        start = b"P1,2025-08-26T00:00:00Z,hr,71"
        chunk = b"".join(start.replace(b"1", b"%d" % (n % 10), 1).ljust(length - 1, b"7") + b"\n" for n in range(1_000))
        made = export_file(setup.folder / "length" / f"{length}.csv", setup.in_memory // 2, repeat_rows(chunk))
        yield in_memory_contest(made, "bytes a row", f"{length:,}", "Growth with the length of a row: bytes in memory")


def in_memory_contest(made: Made, series: str, point: str, title: str) -> Contest:
    return Contest(
        f"{series}-{point}",
        title,
        [
            in_memory("mockexport", (*instruction_sets(), "pure")[0], made.path),
            in_memory("Polars, all cores", "polars_streaming", made.path, absent=needs("polars")),
        ],
        rows=made.rows,
        size=made.size,
        note="mockexport on one core, Polars on all; no start-up in the time.",
        series=series,
        point=point,
    )


def downloads(setup: Setup) -> Generator[Contest, None, None]:
    made = export_file(setup.folder / "thousand" / "rows.csv", 45_000)
    root = setup.folder / "downloads"
    points = (1, 10, 100) if setup.quick else (1, 10, 100, 1_000)
    paths = {number: link_export(made, root / str(number), number) for number in points}
    with serving(*CHILD, "tests.bench.static_server", root) as url:
        for number in points:
            yield Contest(
                f"downloads-{number}",
                "Growth with the number of downloads, of 1,000 rows each",
                [
                    ours("count", number, "-s", root, name="mockexport, folder"),
                    polars(paths[number]),
                    ours("count", number, "-s", url, name="mockexport, HTTP"),
                ],
                rows=made.rows * number,
                note="Whole commands. Over HTTP each download is three requests, from the plain server of files.",
                series="downloads",
                point=f"{number:,}",
            )


def cores(setup: Setup) -> Generator[Contest, None, None]:
    made = export_file(setup.folder / "one" / "big" / "rows.csv", setup.large)
    cut = setup.folder / "cores" / "cut"
    split_file(made, cut, 20)
    for jobs in range(1, (os.cpu_count() or 1) + 1):
        yield Contest(
            f"cores-{jobs}",
            f"Growth with cores: the {made.size / 1e9:.1f} GB of before",
            [
                ours("count", "big", "-s", setup.folder / "one", "--jobs", jobs, name="mockexport, one file"),
                ours("count", "cut", "-s", cut.parent, "--jobs", jobs, name="mockexport, 20 files"),
            ],
            rows=made.rows,
            size=made.size,
            note="Whole commands.",
            series="--jobs",
            point=str(jobs),
        )
