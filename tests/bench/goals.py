"""What is wanted of the figures, told beside what was reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tests.bench.contest import Figures, Result

__all__ = ["GOALS", "Goal", "Results"]

Results: TypeAlias = Mapping[str, Result]
Reach: TypeAlias = Callable[[Results], tuple[str, bool] | None]
"""Returns what was reached, and whether that is enough; None when it was not measured."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted, in words, and how to find out."""

    what: str
    wanted: str
    reach: Reach


def speed(contest: str, name: str, least: float) -> Reach:
    """At least so many million rows a second."""

    def reach(results: Results) -> tuple[str, bool] | None:
        figures = _figures(results, contest, name)
        if figures is None or figures.speed is None:
            return None
        return f"{figures.speed / 1e6:,.0f} M rows/s", figures.speed >= least * 1e6

    return reach


def bytes_a_second(contest: str, name: str, least: float) -> Reach:
    """At least so many GB a second."""

    def reach(results: Results) -> tuple[str, bool] | None:
        figures = _figures(results, contest, name)
        if figures is None or not figures.seconds or not results[contest].contest.size:
            return None
        rate = (results[contest].contest.size or 0) / figures.seconds / 1e9
        return f"{rate:.2f} GB/s", rate >= least

    return reach


def seconds(contest: str, name: str, most: float) -> Reach:
    """At most so many seconds."""

    def reach(results: Results) -> tuple[str, bool] | None:
        figures = _figures(results, contest, name)
        if figures is None or figures.seconds is None:
            return None
        return f"{figures.seconds:.2f} s", figures.seconds <= most

    return reach


def times(contest: str, peer: str, least: float) -> Reach:
    """Our speed, so many times a peer's at the least."""

    def reach(results: Results) -> tuple[str, bool] | None:
        figures, ours = _figures(results, contest, peer), results.get(contest)
        if figures is None or figures.seconds is None or ours is None or not ours.ours.seconds:
            return None
        ratio = figures.seconds / ours.ours.seconds
        return f"{ratio:,.3g}x", ratio >= least

    return reach


def memory(most: float) -> Reach:
    """The most that a whole command of ours took, in MB, with 20 patients or fewer."""

    def reach(results: Results) -> tuple[str, bool] | None:
        peaks = [
            (figures.memory, result.contest)
            for result in results.values()
            if result.contest.name.startswith(("folder", "fhir-l", "http", "mock", "rows", "downloads", "cores"))
            for figures in result.figures
            if figures.seconds and figures.name.startswith("mockexport")
        ]
        if not peaks:
            return None
        peak, contest = max(peaks, key=lambda found: found[0])
        return f"{peak:.0f} MB ({contest.name})", peak < most

    return reach


def flat(first: str, last: str, most: float) -> Reach:
    """The memory of the last, so many times that of the first at the most."""

    def reach(results: Results) -> tuple[str, bool] | None:
        if first not in results or last not in results:
            return None
        one, other = results[first].ours.memory, results[last].ours.memory
        return f"{one:.0f} and {other:.0f} MB", other <= most * one

    return reach


def _figures(results: Results, contest: str, name: str) -> Figures | None:
    return results[contest].of(name) if contest in results else None


GOALS = (
    Goal("the tally, one core, AVX-512", ">= 100 M rows/s", speed("tally", "mockexport, avx512", 100)),
    Goal("the tally, one core, AVX2", ">= 70 M rows/s", speed("tally", "mockexport, avx2", 70)),
    Goal("the tally, one core, and csv.DictReader", ">= 150x", times("tally", "csv.DictReader", 150)),
    Goal("the tally, one core, and Polars on all", "> 1x", times("tally", "Polars, all cores", 1)),
    Goal("`count`, one large file, and Polars", ">= 6x", times("folder-large", "Polars", 6)),
    Goal("`count`, one large file, and DuckDB", ">= 6x", times("folder-large", "DuckDB", 6)),
    Goal("`count`, many files, and Polars", ">= 6x", times("folder-many", "Polars", 6)),
    Goal("`count`, many files, and DuckDB", ">= 6x", times("folder-many", "DuckDB", 6)),
    Goal("the tally of FHIR, one core, AVX2", ">= 2 GB/s", bytes_a_second("fhir-tally", "mockexport, fhir-avx2", 2)),
    Goal("`count` of FHIR, 1 GB, and DuckDB", ">= 3x", times("fhir-large", "DuckDB", 3)),
    Goal("`count` of FHIR, 1 GB, and Polars", ">= 3x", times("fhir-large", "Polars", 3)),
    Goal("`count` of FHIR, 5 GB, and DuckDB", ">= 5x", times("fhir-larger", "DuckDB", 5)),
    Goal("`count` of FHIR, 5 GB, and Polars", ">= 5x", times("fhir-larger", "Polars", 5)),
    Goal("the generator, one core", ">= 20 M rows/s", speed("generator", "mockexport, native", 20)),
    Goal("`count large`, mock", "<= 3 s", seconds("mock-large", "mockexport", 3)),
    Goal("`count large` from our server", "<= 7 s", seconds("http-large", "mockexport", 7)),
    Goal("`--version`", "< 0.1 s", seconds("start-up", "mockexport --version", 0.1)),
    Goal("`count demo`", "< 0.3 s", seconds("start-up", "mockexport count demo", 0.3)),
    Goal("peak memory of a command", "< 50 MB", memory(50)),
    Goal("peak memory, 1 and 150 million rows", "the same, within a tenth", flat("rows-0", "rows-2", 1.1)),
)
