"""What the page of `serve` may run: the commands, with the answers that they write, told of as they go."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from mockexport.cli.bars import Bar, Pace, condition
from mockexport.cli.count import counts_csv
from mockexport.cli.documents import counts_document
from mockexport.cli.progress import OVERALL, asks, download_bars
from mockexport.encoding import json_bytes
from mockexport.source import MakesExports

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from mockexport.model import Download
    from mockexport.pipeline import ProgressCounters, Split
    from mockexport.server import Answer, Kind, Step, Watch
    from mockexport.source import Source

__all__ = ["kinds_of_runs"]


def kinds_of_runs(source: Source, kernel: str) -> list[Kind]:
    """Return the kinds of runs that a page over a source may start; a new kind is one entry here."""
    return [CountRun(source, kernel)]


class CountRun:
    """`mockexport count`; the contract is `Kind`."""

    name = "count"
    title = "Count"
    view = "heatmap"

    def __init__(self, source: Source, kernel: str) -> None:
        self._source = source
        self._kernel = kernel

    def command(self, export: str) -> str:
        """Return the shell command that gives the same answer."""
        return shlex.join(["mockexport", "count", export, "--source", home(self._source, export)])

    def run(self, export: str, watch: Watch) -> Answer:
        """Count an export."""
        from mockexport.pipeline import count
        from mockexport.server import Answer

        told = Told(export, self._source, watch)
        counts = count(self._source, export, kernel=self._kernel, on_progress=told.downloads, on_listing=told.listing)
        csv = counts_csv(counts).encode(errors="surrogateescape")
        return Answer(json_bytes(counts_document(counts)), csv)


def home(source: Source, export: str) -> str:
    """Return the name of the source that has an export: of a union, that is one of its parts."""
    from mockexport.sources import UnionSource

    if isinstance(source, UnionSource):
        one, beside = source.parts
        return home(beside if export in beside.exports() else one, export)
    return source.name


class Told:
    """Tells a page of the progress of a run, as `Progress` tells a terminal of it."""

    def __init__(self, export: str, source: Source, watch: Watch) -> None:
        from mockexport.server import Progress

        self._export = export
        self._progress = Progress  # the server needs an extra, and is imported only where one runs
        self._watch = watch
        self._asks = asks(source.name, "its downloads")
        self._paces: dict[Hashable, Pace] = {}
        if isinstance(source, MakesExports):
            source.on_status = lambda text: watch(Progress(text=f"waiting for {export}: {text}"))
        watch(Progress(text=self._asks))

    def listing(self, listed: int, total: int | None) -> None:
        """Take how many downloads are listed; the contract is `OnListing`."""
        of_all = f" of {total:,}" if total else ""
        self._watch(self._progress(text=f"{self._asks}, {listed:,}{of_all}"))

    def downloads(self, downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        """Take how far downloads are; the contract is `OnProgress`."""
        now = time.monotonic()
        bars = download_bars(self._export, downloads, counters)
        self._paces = {key: self._paces.get(key) or Pace(now) for key in bars}
        for key, bar in bars.items():
            self._paces[key].see(now, bar)
        overall = bars[OVERALL]
        self._watch(
            self._progress(
                done=overall.done,
                total=overall.total,
                rows=overall.processed,
                rows_per_second=self._paces[OVERALL].rate(),
                left=self._paces[OVERALL].left(now, overall),
                retries=overall.retries,
                finished=counters.finished(),
                parts=len(downloads),
                steps=[
                    step(downloads[key].id, bar, self._paces[key], now)
                    for key, bar in bars.items()
                    if isinstance(key, int)
                ],
            )
        )


def step(download: str, bar: Bar, pace: Pace, now: float) -> Step:
    """Return how far a download is."""
    from mockexport.server import Step

    return Step(download, bar.done, bar.total, bar.processed, pace.rate(), condition(bar, pace, now, None))
