"""The results as Markdown, and where they go: between two markers, with the prose around them left as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from tests.bench.goals import GOALS
from tests.bench.machine import machine_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.contest import Figures, Result

__all__ = ["BEGIN", "END", "markdown", "replace_generated"]

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def replace_generated(document: str, generated: str) -> str:
    """Put what was generated between the markers. Raises ValueError when the document has not both, in order."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs a line {BEGIN} and, behind it, a line {END}")
    return f"{before}{BEGIN}\n{generated.strip()}\n{END}{after}"


def markdown(results: Sequence[Result]) -> str:
    """Tell the machine, the goals, and each contest."""
    parts = ["\n".join([f"Taken on {datetime.now(UTC):%Y-%m-%d}:", "", *machine_lines()])]
    if goals := _goals(results):
        parts.append(f"### Goals\n\n{goals}")
    parts += [_section(list(group)) for _, group in groupby(results, lambda result: result.contest.title)]
    return "\n\n".join(parts)


def _goals(results: Sequence[Result]) -> str:
    by_name = {result.contest.name: result for result in results}
    lines = []
    for goal in GOALS:
        reached = goal.reach(by_name)
        if reached:
            text, enough = reached
            lines.append((goal.what, goal.wanted, text, "yes" if enough else "**no**"))
    return _table(("goal", "wanted", "measured", "reached"), "lrrr", lines) if lines else ""


def _section(results: Sequence[Result]) -> str:
    contest = results[0].contest
    body = _growth(results) if contest.series else _contest(results[0])
    return "\n\n".join(part for part in (f"### {contest.title}", body, contest.note) if part)


def _contest(result: Result) -> str:
    ours = result.ours.seconds
    has_speed = any(figures.speed for figures in result.figures)
    lines = []
    for figures in result.figures:
        if figures.seconds is None:
            lines.append((figures.name, f"({figures.absent})", "", "", "", ""))
            continue
        per_row = bool(figures.rows and result.ours.rows)
        ratio = _ratio(result.ours, figures) if ours and (per_row or not has_speed) else ""
        lines.append(
            (
                figures.name,
                _seconds(figures.seconds),
                _speed(figures, result.contest.size),
                ratio,
                f"{_seconds(figures.low)} to {_seconds(figures.high)} ({figures.rounds})",
                f"{figures.memory:,.0f} MB",
            )
        )
    heads = ("", "median", "rows", "time against ours", "from, to (rounds)", "peak memory")
    return _table(heads, "lrrrrr", lines)


def _ratio(ours: Figures, other: Figures) -> str:
    """How long the other takes for the same work, as a multiple of our time."""
    if ours is other or not ours.seconds or not other.seconds:
        return "1"
    work = (other.rows or 1) / (ours.rows or 1)
    return f"{other.seconds / ours.seconds / work:.3g}"


def _growth(results: Sequence[Result]) -> str:
    """One line a point, one column a contestant."""
    names = [figures.name for figures in results[0].figures]
    lines = [(result.contest.point, *(_cell(figures, result) for figures in result.figures)) for result in results]
    return _table((results[0].contest.series, *names), "r" * (1 + len(names)), lines)


def _cell(figures: Figures, result: Result) -> str:
    if figures.seconds is None:
        return f"({figures.absent})"
    return f"{_seconds(figures.seconds)}, {_speed(figures, result.contest.size)}, {figures.memory:,.0f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _speed(figures: Figures, size: int | None) -> str:
    if not figures.speed or not figures.seconds:
        return ""
    bandwidth = f", {size / figures.seconds / 1e9:.2g} GB/s" if size else ""
    return f"{figures.speed / 1e6:.3g} M/s{bandwidth}"


def _table(heads: Sequence[str], sides: str, lines: Iterable[Sequence[str]]) -> str:
    rule = "|".join("---:" if side == "r" else "---" for side in sides)
    return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])
