"""How far a command is, as bars and lines; `display` shows them on stderr."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mockexport.cli.bars import Bar, Layout, Pace, condition, plain_line
from mockexport.cli.display import Display
from mockexport.encoding import printable
from mockexport.source import MakesExports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence

    from rich.text import Text

    from mockexport.cli.terminal import Terminal
    from mockexport.heartrate import Sent
    from mockexport.model import Download
    from mockexport.pipeline import ProgressCounters, Split
    from mockexport.source import Source

__all__ = [
    "OVERALL",
    "Progress",
    "asking",
    "asks",
    "download_bars",
    "download_progress",
    "sending_progress",
    "while_asking",
]

T = TypeVar("T")
OVERALL = "overall"  # the key of the bar that sums up the others
OWN_BAR_SECONDS = 0.5  # a download that ends before has no bar, so that lines don't come and go
ELAPSED_SECONDS = 3.0  # of waiting, before they are told


@contextmanager
def download_progress(
    terminal: Terminal, export: str, source: Source, timeout: float | None = None
) -> Generator[Progress, None, None]:
    """Show how far a `count` or `fetch` is that tells it to `Progress.listing` and `Progress.downloads`."""
    progress = Progress(export, "rows", asks(source.name, "its downloads"), timeout=timeout)
    if isinstance(source, MakesExports):
        source.on_status = progress.status
    with shown(progress, terminal):
        yield progress


@contextmanager
def sending_progress(
    terminal: Terminal, readings: int | None, seconds: float | None
) -> Generator[Progress, None, None]:
    """Show how far a `send` is that tells it to `Progress.sending`.

    Progress is the share of the `readings`, or of the `seconds`, whichever is further; None is no limit.
    """
    progress = Progress("sending", "readings", "connecting", readings=readings, seconds=seconds)
    with shown(progress, terminal):
        yield progress


@contextmanager
def asking(terminal: Terminal, source: str, what: str) -> Generator[Progress, None, None]:
    """Say that a source is asked for something."""
    progress = Progress("", "", asks(source, what))
    with shown(progress, terminal):
        yield progress


def while_asking(terminal: Terminal, source: str, items: Iterable[T]) -> Generator[T, None, None]:
    """Yield the items that a source is asked for; say how many there are by now."""
    with asking(terminal, source, "its list") as progress:
        for number, item in enumerate(items, start=1):
            progress.listing(number, None)
            yield item


@contextmanager
def shown(progress: Progress, terminal: Terminal) -> Generator[None, None, None]:
    """Show progress, if it is wanted."""
    if not terminal.shows_progress:
        yield
        return
    with Display(progress, animated=terminal.animated):
        yield


def asks(source: str, what: str) -> str:
    """Return what is said while a source is asked for something."""
    return f"asking {source} for {what}"


def download_bars(
    export: str, downloads: Sequence[Download | Split], counters: ProgressCounters
) -> dict[Hashable, Bar]:
    """Return the bar of the export, and one for each download in progress.

    Progress is measured in rows if every download declares them, else in bytes if every size is known.
    """
    rows, sizes = [download.rows for download in downloads], [download.size for download in downloads]
    in_bytes = None in rows and None not in sizes
    amounts = sizes if in_bytes else rows
    measure, kept = (counters.bytes, counters.kept_bytes) if in_bytes else (counters.rows, counters.kept_rows)
    total = None if None in amounts else sum(filter(None, amounts))
    bars: dict[Hashable, Bar] = {
        OVERALL: Bar(
            name=export,
            done=measure(None),
            total=total,
            processed=counters.rows(),
            retries=counters.retries(),
            details=(f"{counters.finished()} of {len(downloads)} {noun(downloads)}",),
            kept_done=kept(None),
            kept=counters.kept_rows(),
        )
    }
    for number in counters.running():
        bars[number] = Bar(
            name=f"  {downloads[number].id}",
            done=measure(number),
            total=amounts[number],
            processed=counters.rows(number),
            retries=counters.retries(number),
            kept_done=kept(number),
            kept=counters.kept_rows(number),
            status=counters.status(number),
        )
    return bars


def noun(downloads: Sequence[Download | Split]) -> str:
    """Return what to call these: large downloads are counted in splits."""
    from mockexport.pipeline import Split

    return "splits" if any(isinstance(download, Split) for download in downloads) else "downloads"


def sending_bar(sent: Sent, share: float) -> Bar:
    """Return the bar of readings that are being sent."""
    rejected = (f"{sent.rejected:,} rejected",) if sent.rejected else ()
    return Bar("sending", min(1.0, share), 1.0, sent.sent, sent.tried_again, rejected)


class Progress:
    """How far a command is; it is told so in the command's thread, and drawn in another.

    `waiting` is said until there are bars. `unit` is what is processed: "rows" or "readings". `timeout` is how long a
    server may send nothing, in seconds.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        waiting: str,
        *,
        timeout: float | None = None,
        readings: int | None = None,
        seconds: float | None = None,
    ) -> None:
        self._name = name
        self._unit = unit
        self._waiting = waiting
        self._timeout = timeout
        self._readings = readings
        self._seconds = seconds
        self._listed: tuple[int, int | None] = (0, None)
        self._started = time.monotonic()
        self._bars: Callable[[], Mapping[Hashable, Bar]] | None = None
        self._counters: object = None
        self._paces: dict[Hashable, Pace] = {}

    def listing(self, listed: int, total: int | None) -> None:
        """Take how many downloads are listed; the contract is `OnListing`."""
        self._listed = (listed, total)

    def status(self, text: str) -> None:
        """Take what is waited for before there are downloads."""
        self._waiting = f"waiting for {self._name}: {text}"

    def downloads(self, downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        """Take how far downloads are; the contract is `OnProgress`."""
        if counters is not self._counters:
            self._counters = counters
            self._begin(partial(download_bars, self._name, downloads, counters))

    def sending(self, sent: Sent) -> None:
        """Take how far the sending of readings is; the contract is `OnSending`."""
        if sent is not self._counters:
            self._counters = sent

            def bars() -> dict[Hashable, Bar]:
                shares = [sent.sent / self._readings] if self._readings else []
                shares += [(time.monotonic() - self._started) / self._seconds] if self._seconds else []
                return {OVERALL: sending_bar(sent, max(shares, default=0.0))}

            self._begin(bars)

    def _begin(self, bars: Callable[[], Mapping[Hashable, Bar]]) -> None:
        pace = Pace(time.monotonic())
        pace.see(pace.began, bars()[OVERALL])
        self._paces = {OVERALL: pace}
        self._bars = bars

    def lines(self, width: int, height: int) -> list[str | Text]:
        """Return the lines to draw."""
        bars, paces, now = self._look()
        if bars is None:
            return [self._waiting_line(now, width)]
        own = [key for key in bars if key == OVERALL or now - paces[key].began >= OWN_BAR_SECONDS]
        hidden = len(own) - height
        layout = Layout(width, self._unit, max((bar.retries for bar in bars.values()), default=0))
        lines: list[str | Text] = [
            layout.line(bars[key], paces[key], now, self._timeout) for key in (own[: height - 1] if hidden > 0 else own)
        ]
        return [*lines, f"  and {hidden + 1} more"] if hidden > 0 else lines

    def summary(self) -> str:
        """Return all of it as one line."""
        bars, paces, now = self._look()
        if bars is None:
            return self._waiting_line(now)
        line = plain_line(bars[OVERALL], paces[OVERALL], now, self._unit)
        waiting = [
            f"{bar.name.strip()}: {text}"
            for key, bar in bars.items()
            if (text := condition(bar, paces[key], now, self._timeout))
        ]
        more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        return f"{line}; {waiting[0]}{more}" if waiting else line

    def _look(self) -> tuple[Mapping[Hashable, Bar] | None, dict[Hashable, Pace], float]:
        """Return the bars as they are now, how fast each moves, and the time."""
        now = time.monotonic()
        if self._bars is None:
            return None, {}, now
        bars, paces = self._bars(), self._paces
        for key in paces.keys() - bars.keys():
            del paces[key]
        for key, bar in bars.items():
            paces.setdefault(key, Pace(now)).see(now, bar)
        return bars, paces, now

    def _waiting_line(self, now: float, width: int | None = None) -> str:
        listed, total = self._listed
        seconds = now - self._started
        if total is not None and listed >= total:
            text, numbers = "starting", ""
        else:
            text, numbers = printable(self._waiting), f", {listed:,} of {total:,}" if total else ""
            numbers = numbers or (f", {listed:,}" if listed else "")
        numbers += f", {seconds:.0f} s" if seconds >= ELAPSED_SECONDS else ""
        if width is not None and len(text) + len(numbers) > width:  # a long URL
            text = f"{text[: max(0, width - len(numbers) - 1)]}…"
        return text + numbers
