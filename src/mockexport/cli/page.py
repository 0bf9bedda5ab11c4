"""What the page of `serve` may run: the commands, with the answers that they write, told of as they go."""

from __future__ import annotations

import shlex
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mockexport.cli.bars import Bar, Pace, condition
from mockexport.cli.count import counts_csv
from mockexport.cli.documents import counts_document, statistics_document
from mockexport.cli.progress import OVERALL, asks, download_bars
from mockexport.cli.reconcile import findings_csv
from mockexport.cli.stats import statistics_csv
from mockexport.encoding import json_bytes
from mockexport.source import MakesExports, MayNeedServer, home_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from mockexport.model import Download
    from mockexport.pipeline import ProgressCounters, Split
    from mockexport.server import Answer, Kind, Step, Watch
    from mockexport.source import Source

__all__ = ["kinds_of_runs"]

WAITING = threading.local()


def kinds_of_runs(source: Source, kernel: str) -> list[Kind]:
    """Return the kinds of runs that a page over a source may start; a new kind is one entry here."""
    return [
        CommandRun("count", "Count", "heatmap", source, kernel, counted),
        CommandRun("stats", "Statistics", "table", source, kernel, summarised),
        CommandRun("reconcile", "Reconcile", "certificate", source, kernel, reconciled),
    ]


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A run of the command `mockexport NAME`, with its usual options; the contract is `Kind`."""

    name: str
    title: str
    view: str
    source: Source
    kernel: str
    answer: Callable[[Source, str, str, Told], tuple[Any, str]]

    def command(self, export: str, server: str) -> str:
        """Return the shell command that gives the same answer, if need be from this server."""
        home = home_of(self.source, export)
        name = server if isinstance(home, MayNeedServer) and home.needs_server else home.name
        if export.startswith("-"):  # which would be read as an option
            return shlex.join(["mockexport", self.name, "--source", name, "--", export])
        return shlex.join(["mockexport", self.name, export, "--source", name])

    def run(self, export: str, watch: Watch) -> Answer:
        """Do what the command does."""
        from mockexport.server import Answer

        source = home_of(self.source, export)
        document, csv = self.answer(source, export, self.kernel, Told(export, source, watch))
        return Answer(json_bytes(document), csv.encode(errors="surrogateescape"))


def counted(source: Source, export: str, kernel: str, told: Told) -> tuple[Any, str]:
    """Return the document and the CSV of `mockexport count`."""
    from mockexport.pipeline import count

    counts = count(source, export, kernel=kernel, on_progress=told.downloads, on_listing=told.listing)
    return counts_document(counts), counts_csv(counts)


def summarised(source: Source, export: str, kernel: str, told: Told) -> tuple[Any, str]:
    """Return the document and the CSV of `mockexport stats`."""
    from mockexport.pipeline import statistics

    found = statistics(source, export, kernel=kernel, on_progress=told.downloads, on_listing=told.listing)
    document = statistics_document(found)
    return document, statistics_csv(document)


def reconciled(source: Source, export: str, kernel: str, told: Told) -> tuple[Any, str]:
    """Return the document and the CSV of `mockexport reconcile`."""
    from mockexport.pipeline import reconcile

    found = reconcile(source, export, kernel=kernel, on_progress=told.downloads, on_listing=told.listing)
    return found.document(), findings_csv(found)


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
            source.on_status = tell_status  # in the thread of the run that waits
            WAITING.tell = lambda text: watch(Progress(text=f"waiting for {export}: {text}"))
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


def tell_status(text: str) -> None:
    """Tell the run of this thread what it waits for; other runs wait for the same source at the same time."""
    if tell := getattr(WAITING, "tell", None):
        tell(text)


def step(download: str, bar: Bar, pace: Pace, now: float) -> Step:
    """Return how far a download is."""
    from mockexport.server import Step

    return Step(download, bar.done, bar.total, bar.processed, pace.rate(), condition(bar, pace, now, None))
