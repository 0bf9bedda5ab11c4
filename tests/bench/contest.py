"""A contest: several ways to do the same work, in turn, round after round; and what came of it."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.launch import Run

__all__ = ["Contest", "Contestant", "DifferentAnswerError", "Figures", "Result", "hold", "progress", "read_answer"]

ENOUGH_SECONDS = 20.0
"""Who has taken so long in all takes part in no further round."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the work. `rounds` bounds how often a slow one takes part; `absent` says why one can't."""

    name: str
    run: Callable[[], Run]
    rounds: int | None = None
    absent: str = ""
    answers: bool = True
    rows: int | None = None  # where it is given less than the others


@dataclass(frozen=True, slots=True)
class Contest:
    """The first contestant is ours: it is the measure of speed, and its answer must be everyone's.

    `series` and `point` make it one line of a table that tells how something grows.
    """

    name: str
    title: str
    contestants: Sequence[Contestant]
    rows: int | None = None
    size: int | None = None
    note: str = ""
    series: str = ""
    point: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """A contestant's medians: seconds (from `low` to `high`), peak memory in MB; None when it could not take part."""

    name: str
    seconds: float | None
    low: float = 0.0
    high: float = 0.0
    memory: float = 0.0
    rounds: int = 0
    rows: int | None = None
    absent: str = ""

    @property
    def speed(self) -> float | None:
        """Rows a second."""
        return self.rows / self.seconds if self.rows and self.seconds else None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a contest, in the order of its contestants."""

    contest: Contest
    figures: Sequence[Figures] = field(default_factory=tuple)

    def of(self, name: str) -> Figures | None:
        """The figures of one that took part."""
        return next((figures for figures in self.figures if figures.name == name and figures.seconds), None)

    @property
    def ours(self) -> Figures:
        """The first one's."""
        return self.figures[0]


class DifferentAnswerError(Exception):
    """A contestant counted otherwise than we did: the figures would mean nothing."""


def hold(contest: Contest, rounds: int) -> Result:
    """Let all take part in turn, A B C A B C …, and take the medians. Raises DifferentAnswerError."""
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contest.contestants}
    truth: tuple[str, dict[tuple[str, str], int]] | None = None
    for _ in range(rounds):
        for contestant in contest.contestants:
            done = runs[contestant.name]
            if contestant.absent or len(done) == contestant.rounds or sum(r.seconds for r in done) > ENOUGH_SECONDS:
                continue
            run = contestant.run()
            done.append(run)
            if contestant.answers:
                answer = read_answer(run.output)
                truth = truth or (contestant.name, answer)
                if answer != truth[1]:
                    raise DifferentAnswerError(f"{contest.name}: {contestant.name} counts otherwise than {truth[0]}")
    if truth and contest.rows is not None and sum(truth[1].values()) != contest.rows:
        raise DifferentAnswerError(f"{contest.name}: {sum(truth[1].values()):,} records, not {contest.rows:,}")
    return Result(contest, [medians(c, runs[c.name], contest.rows) for c in contest.contestants])


def medians(contestant: Contestant, runs: Sequence[Run], rows: int | None) -> Figures:
    """Sum up a contestant's runs."""
    if not runs:
        return Figures(contestant.name, None, absent=contestant.absent)
    seconds = [run.seconds for run in runs]
    return Figures(
        contestant.name,
        statistics.median(seconds),
        min(seconds),
        max(seconds),
        statistics.median(run.memory for run in runs),
        len(runs),
        contestant.rows or rows,
    )


def read_answer(output: str) -> dict[tuple[str, str], int]:
    """Read records by patient and type: our JSON, or a line `patient,type,records` each and `,,records` in all.

    Raises DifferentAnswerError when an answer doesn't agree with itself.
    """
    if output.startswith("{"):
        document = json.loads(output)
        cells = {(p, t): n for p, types in document["patients"].items() for t, n in types.items()}
        if "all" in document:  # statistics: a cell has many figures, which stand behind the type
            pairs = {(p, figures_text(t, cell)): cell["count"] for (p, t), cell in cells.items()}
            total = document["all"]["count"]
        else:
            pairs, total = cells, sum(document["totals"].values())
    else:
        lines = (line.rsplit(",", 2) for line in output.splitlines())
        pairs = {(patient, kind): int(records) for patient, kind, records in lines}
        total = pairs.pop(("", ""), -1)
    if total != sum(pairs.values()):
        raise DifferentAnswerError(f"an answer says {total:,} records in all, and {sum(pairs.values()):,} in its parts")
    return pairs


def figures_text(kind: str, cell: dict[str, Any]) -> str:
    """A type and its figures, to six digits: doubles that are added one by one differ in the last ones."""
    names = ("mean", "min", "max", "sd", "p05", "median", "p95", "anomalies", "latency")
    figures = [*(cell[name] for name in names), datetime.fromisoformat(cell["first"]).timestamp(), cell["longest_gap"]]
    return "|".join([kind, *(f"{figure:.6g}" for figure in figures)])


def progress(result: Result) -> None:
    """Tell on stderr what came of a contest."""
    contest = result.contest
    print(f"\n{contest.title}{f': {contest.point}' if contest.point else ''}", file=sys.stderr)
    for figures in result.figures:
        if figures.seconds is None:
            print(f"  {figures.name:<42} {figures.absent}", file=sys.stderr)
            continue
        speed = f"{figures.speed / 1e6:9.2f} M rows/s" if figures.speed else ""
        line = f"  {figures.name:<42} {figures.seconds:9.3f} s {figures.memory:7.0f} MB {speed}"
        print(line, file=sys.stderr, flush=True)
