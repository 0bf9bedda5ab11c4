"""The second pass of `statistics`: the times of some pairs, sorted, where one pass could not tell their gaps."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mockexport.errors import ChangedError
from mockexport.pipeline.folding import Folding, fold
from mockexport.sorting import GAPS_WIDTH, Runs, RunWriter, choose_gaps, sorted_blocks, temporary_folder
from mockexport.stats import CsvStatsSpec, Gaps, choose_resource_times, choose_times
from mockexport.tally import HeaderFirst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport.model import Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.running import OnProgress
    from mockexport.sorting import PairTimes
    from mockexport.source import Source
    from mockexport.stats import (
        Pair,
        PairStats,
        ResourceStatsSpec,
        StatsSpec,
        TimesReader,
    )
    from mockexport.tally import Accumulator

__all__ = ["sort_times"]

log = logging.getLogger(__name__)
SHARES = 32  # of the memory: each of the parts that are read at the same time takes one


def sort_times(
    source: Source,
    downloads: Sequence[Download],
    pairs: Mapping[Pair, PairStats],
    rows: Mapping[int, int],
    spec: StatsSpec,
    memory: int,
    start_workers: StartWorkers,
    on_progress: OnProgress | None,
) -> dict[Pair, Gaps]:
    """Return the gaps of pairs, from all their times, which are read again and sorted.

    `pairs` has what the first pass found of them, and `rows` the rows that it read of each download, by its number. At
    most about `memory` bytes are held; the rest is in temporary files. Raises ChangedError when the downloads hold
    other times by now, and what `fold` raises.
    """
    numbers = {pair: number for number, pair in enumerate(pairs)}
    wanted: dict[int, dict[Pair, int]] = {}
    for pair, stats in pairs.items():
        for segment in stats.segments:
            wanted.setdefault(segment.download, {})[pair] = numbers[pair]
    times = sum(stats.records - stats.not_a_time for stats in pairs.values())
    log.info(
        "%s pairs of patient and type are not in the order of time: reading %s downloads again, to sort %s times",
        f"{len(pairs):,}", f"{len(wanted):,}", f"{times:,}",
    )  # fmt: skip
    read = {number: found for number, found in rows.items() if number not in wanted}
    with temporary_folder() as folder:
        share = max(1, memory // SHARES)
        by_download = {downloads[number].id: found for number, found in wanted.items()}
        run = Folding(
            source, downloads, TimesSpec(spec, by_download, folder, share),
            lambda _: RunsTotal(folder, share, spec.kernel), start_workers, on_progress, read,
        )  # fmt: skip
        with RunWriter(GAPS_WIDTH, folder=folder, memory=memory // 2, kernel=spec.kernel) as writer:
            with contextlib.closing(fold(run)) as folded:
                for _, runs in folded:
                    writer.add_runs(runs)
            runs = writer.finish()
        on_disk = sum(run.stat().st_size for run in runs.runs if isinstance(run, Path))
        if on_disk:
            log.info("%s bytes of times were written to temporary files in %s", f"{on_disk:,}", folder.parent)
        gaps = choose_gaps(spec.kernel)()
        for block in sorted_blocks(runs, memory=memory // 2, kernel=spec.kernel):
            gaps.feed(block)
        found = gaps.finish()
    if read != rows or any(
        number not in found or found[number].records != pairs[pair].records - pairs[pair].not_a_time
        for pair, number in numbers.items()
    ):
        raise ChangedError(
            f"export {downloads[0].export!r} in {source.name} changed between two readings; try again when nothing "
            "writes to it"
        )
    return {pair: gaps_of(found[number]) for pair, number in numbers.items()}


def gaps_of(times: PairTimes) -> Gaps:
    """Return sorted times as gaps."""
    return Gaps(times.duplicates, times.longest if times.records > 1 else -1, times.start)


class RunsTotal:
    """A sum of runs that grows; the contract is `mockexport.pipeline.folding.Total`."""

    def __init__(self, folder: Path, memory: int, kernel: str) -> None:
        self._writer = RunWriter(GAPS_WIDTH, folder=folder, memory=memory, kernel=kernel)

    def add(self, part: Runs) -> None:
        """Add runs. What was sent from another machine is written to disk when it is too much."""
        self._writer.add_runs(part)

    @property
    def result(self) -> Runs:
        """What the sum is; it is asked for once."""
        return self._writer.finish()


@dataclass(frozen=True, slots=True)
class TimesSpec:
    """What makes the accumulators of times, for each download; `numbers` has the pairs wanted of it, by its id."""

    stats: StatsSpec
    numbers: Mapping[str, Mapping[Pair, int]]
    folder: Path
    memory: int

    def of(self, download: Download) -> TimesOfDownload:
        """Return what makes the accumulators of a download, by its format."""
        return TimesOfDownload(self.stats.of(download), self.numbers.get(download.id, {}), self.folder, self.memory)


@dataclass(frozen=True, slots=True)
class TimesOfDownload:
    """What makes the accumulators of times; the contract is `mockexport.tally.AccumulatorSpec`, of `Runs`.

    `stats` is what made those of the first pass: rows are read, and refused, as they were then.
    """

    stats: CsvStatsSpec | ResourceStatsSpec
    numbers: Mapping[Pair, int] = field(repr=False)
    folder: Path | None
    memory: int

    @property
    def lf_ends_row(self) -> bool:
        """Whether every LF ends a row."""
        return self.stats.lf_ends_row

    def new(self) -> Accumulator[Runs]:
        """Make an accumulator."""
        stats = self.stats
        if isinstance(stats, CsvStatsSpec):
            how = stats.csv.all_columns, stats.csv.delimiter, stats.max_row_bytes
            return HeaderFirst(*how, self._new_of_csv, needs_all=True)
        reader = choose_resource_times(stats.kernel)(
            numbers=self.numbers, skip=stats.skip_malformed, max_row_bytes=stats.fhir.max_row_bytes,
            strict=stats.fhir.strict, base=stats.base,
        )  # fmt: skip
        return SortedTimes(reader, self._writer())

    def _new_of_csv(self, delimiter: bytes) -> SortedTimes:
        stats = self.stats
        assert isinstance(stats, CsvStatsSpec)  # noqa: S101
        reader = choose_times(stats.kernel)(
            columns=stats.csv.all_columns, numbers=self.numbers, skip=stats.skip_malformed,
            max_row_bytes=stats.max_row_bytes, delimiter=delimiter,
        )  # fmt: skip
        return SortedTimes(reader, self._writer())

    def _writer(self) -> RunWriter:
        return RunWriter(GAPS_WIDTH, folder=self.folder, memory=self.memory, kernel=self.stats.kernel)

    def without_skip(self) -> Self:
        """Return the same specification, but a malformed row is an error."""
        return replace(self, stats=self.stats.without_skip())

    def with_kernel(self, kernel: str) -> Self:
        """Return the same specification for another machine, which does not have our folder."""
        return replace(self, stats=self.stats.with_kernel(kernel), folder=None)


class SortedTimes:
    """The times of chosen pairs of one body, in sorted runs; the contract is `mockexport.tally.Accumulator`."""

    def __init__(self, reader: TimesReader, writer: RunWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._reader.feed(chunk)
        self._writer.add(self._reader.take_records())

    def finish(self) -> Runs:
        """End the body, and return its times."""
        self._reader.finish()
        self._writer.add(self._reader.take_records())
        return self._writer.finish()
