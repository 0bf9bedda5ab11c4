"""`statistics`: figures of the values and times of an export, by patient and type, by type, and over all.

One pass over the downloads gives sums that add up exactly (mockexport.stats). Where the times of a pair are in order,
within each part and from part to part, these tell its gaps. For all other pairs a second pass sorts the times.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from mockexport.errors import NotFoundError, Remedy, UntrustedDataError, no_such
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.folding import Folding, fold
from mockexport.pipeline.running import list_downloads
from mockexport.pipeline.time_sorting import sort_times
from mockexport.stats import (
    DEFAULT_RANGES,
    MAX_STATS_PAIRS,
    PairSum,
    Stats,
    StatsSpec,
    choose_stats,
    gaps_in_order,
    pair_figures,
    read_ranges,
    time_figures,
    total_figures,
)
from mockexport.tally import CSV, FHIR, PAIR_BYTES, pairs_too_large, too_many_pairs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.source import Source
    from mockexport.stats import Gaps, Pair, PairStats
    from mockexport.tally import CsvFormat, FhirFormat

__all__ = ["SORT_MEMORY", "Figures", "Statistics", "statistics"]

SORT_MEMORY = 256 << 20
"""How many bytes the second pass may hold by default."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Figures: TypeAlias = "Mapping[str, Any]"
"""Figures by name: numbers, times as text, None for what there is none of (docs/stats.md)."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of an export by patient and type, by type in all, and over all.

    `left_out` and `unassigned` are those of `Counts`. `suppressed` says how many cells, a patient and a type each, were
    left out as they had too few records.
    """

    patients: Mapping[str, Mapping[str, Figures]]
    totals: Mapping[str, Figures]
    all: Figures
    left_out: Mapping[str, int] = field(default_factory=dict)
    unassigned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    suppressed: int = 0


def statistics(
    source: Source,
    export: str = "demo",
    *,
    now: datetime | None = None,
    ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
    patients: Collection[str] | None = None,
    suppress_below: int = 0,
    skip_malformed: bool = False,
    max_pairs: int = MAX_STATS_PAIRS,
    memory: int = SORT_MEMORY,
    kernel: str = "auto",
    csv: CsvFormat = CSV,
    fhir: FhirFormat = FHIR,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    on_listing: OnListing | None = None,
) -> Statistics:
    """Work out the statistics of an export by patient and type, by type, and over all; docs/stats.md says what each is.

    They are exact, or said to be approximate, and do not depend on the order or the number of workers. Events later
    than `now`, by default that of the clock, are in the future. `ranges` are taken for the types that they name, in
    place of the usual ones: the lowest and the highest value that is no anomaly, None for no limit. With `patients`,
    only these are looked at, in the totals too. With `suppress_below`, a patient's type with fewer records than that is
    left out, of the totals too, so that nothing can be told of it by subtraction. `memory` is how many bytes the
    sorting of times may hold, where it is needed; the rest is in temporary files. The other arguments are those of
    `count`; a malformed row is one that `count` takes for one.

    Raises what `count` raises, NotFoundError for an unknown patient, UsageError for ranges that are none, and
    ChangedError when downloads change while they are read.
    """
    choose_stats(kernel)  # an unknown one is an error before any work
    spec = StatsSpec(
        ((now or datetime.now(UTC)) - EPOCH) // timedelta(microseconds=1), kernel, skip_malformed, max_pairs, csv,
        fhir, {**DEFAULT_RANGES, **read_ranges({} if ranges is None else ranges)},
    )  # fmt: skip
    downloads = list_downloads(source, export, on_listing)
    if not downloads:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to work out")
    total = StatsTotal(max_pairs, f"export {export!r}")
    rows: dict[int, int] = {}
    run = Folding(
        source, downloads, spec, partial(StatsTotal, max_pairs), start_workers, on_progress, rows, Stats.placed
    )
    with contextlib.closing(fold(run)) as folded:
        for _, part in folded:
            total.add(part)
    stats = total.result
    pairs = stats.pairs
    if patients is not None:
        pairs = chosen(pairs, patients, export)
    shown = {pair: found for pair, found in pairs.items() if found.records >= suppress_below}
    gaps = {pair: gaps_in_order(found.segments) for pair, found in shown.items()}
    unsorted = {pair: shown[pair] for pair, found in gaps.items() if found is None}
    if unsorted:
        gaps |= sort_times(source, downloads, unsorted, rows, spec, memory, start_workers, on_progress)
    unassigned: dict[str, dict[str, int]] = {}
    for (name, reason), n in stats.unassigned.items():
        if n >= suppress_below:
            unassigned.setdefault(name, {})[reason] = n
    figures = figures_of(shown, gaps)
    return replace(figures, left_out=stats.left_out, unassigned=unassigned, suppressed=len(pairs) - len(shown))


def chosen(pairs: Mapping[Pair, PairStats], patients: Collection[str], export: str) -> dict[Pair, PairStats]:
    """Return the pairs of some patients. Raises NotFoundError for one without a record."""
    known = {patient for patient, _ in pairs}
    for patient in patients:
        if patient not in known:
            raise no_such("patient", patient, f"export {export!r}", sorted(known))
    return {pair: stats for pair, stats in pairs.items() if pair[0] in patients}


def figures_of(pairs: Mapping[Pair, PairStats], gaps: Mapping[Pair, Gaps | None]) -> Statistics:
    """Return the figures, in the order of patients and types."""
    patients: dict[str, dict[str, Figures]] = defaultdict(dict)
    by_type = defaultdict(list)
    for pair, stats in sorted(pairs.items()):
        patient, name = pair
        found = gaps[pair]
        assert found  # noqa: S101 - by now they are known of all
        times = time_figures(stats, found)
        patients[patient][name] = pair_figures(stats, times)
        by_type[name].append((stats, times))
    return Statistics(
        dict(patients),
        {name: total_figures(parts, of_one_type=True) for name, parts in sorted(by_type.items())},
        total_figures([part for parts in by_type.values() for part in parts], of_one_type=False),
    )


class StatsTotal:
    """A sum of statistics that grows; the contract is `mockexport.pipeline.folding.Total`.

    `max_pairs` limits it as it does an accumulator; `name` is what a sum past that is the sum of.
    """

    def __init__(self, max_pairs: int, name: str) -> None:
        self._max_pairs = max_pairs
        self._name = name
        self._pairs: dict[Pair, PairSum] = {}
        self._pair_bytes = 0
        self._rest = Stats()

    def add(self, part: Stats) -> None:
        """Add statistics. Raises UntrustedDataError when there are too many pairs in all."""
        for pair, stats in part.pairs.items():
            if pair not in self._pairs:
                self._pairs[pair] = PairSum()
                self._pair_bytes += bytes_of(pair)
            self._pairs[pair].add(stats)
        self._pair_bytes += sum(map(bytes_of, part.unassigned.keys() - self._rest.unassigned.keys()))
        self._rest += replace(part, pairs={})
        if len(self._pairs) + len(self._rest.unassigned) > self._max_pairs:
            raise UntrustedDataError(f"{self._name} has {too_many_pairs(self._max_pairs)}", remedy=Remedy.MAX_PAIRS)
        if self._pair_bytes > self._max_pairs * PAIR_BYTES:
            raise UntrustedDataError(f"{self._name} has {pairs_too_large(self._max_pairs)}", remedy=Remedy.MAX_PAIRS)

    @property
    def result(self) -> Stats:
        """What the sum is."""
        return replace(self._rest, pairs={pair: total.stats for pair, total in self._pairs.items()})


def bytes_of(pair: Pair) -> int:
    """Return how many bytes the names of a pair take in UTF-8."""
    return sum(len(name.encode()) for name in pair)
