"""The service: a facade of the journal, the pending readings, the table, and the threads that move readings."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from mockexport.errors import ChangedError, UnreachableError, UsageError
from mockexport.extras import needs_extra
from mockexport.heartrate.background import BackgroundThread
from mockexport.heartrate.fresh import FreshReadings
from mockexport.heartrate.journal import JournalError, JournalFullError, lacks
from mockexport.heartrate.locations import Locations
from mockexport.heartrate.readings import LATEST, READINGS_A_BATCH, DaySummary, Point, Readings, encode, microseconds_of
from mockexport.heartrate.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from concurrent.futures import Future
    from datetime import date
    from pathlib import Path
    from types import TracebackType

    import polars as pl

    from mockexport.heartrate.journal import CommitLevel, Entry, Journal
    from mockexport.heartrate.table import DeltaStore, FileFormat, Snapshot
    from mockexport.shared import Documents

__all__ = ["PRIORITIES", "HeartRate", "Statistics"]

PRIORITIES: Mapping[str, int] = MappingProxyType({"device_a": 1, "device_b": 2})
POLL_SECONDS = 0.2  # how often the flusher converts new batches to frames, so that queries have little to convert
FLUSH_PAUSE = 1.0  # seconds; under load, flushes get larger rather than more frequent
MAINTENANCE_SECONDS = 2.0
CLOSE_SECONDS = 60.0
RESIGN_SECONDS = 30.0  # a leader that can't write the table for so long lets another server try, for as long
READ_JOURNAL, FLUSH = "read the journal", "flush"

T = TypeVar("T")

log = logging.getLogger(__name__)


class HeartRate:
    """Accepts, stores and queries readings. Use it in a `with`; it is thread-safe.

    `data` is a folder or the URL of a table; `journal` is a local folder for the journal, which a URL requires, or the
    URL of a PostgreSQL database (`postgresql://host/db`), which several services may share with their table; then
    `journal_commit` is a level of `synchronous_commit` other than that of the server. `priorities` are the devices'
    priorities; lower ones are preferred. A day is dropped `retain` after its end, unless the clock seems to have
    jumped; `trust_clock` drops it anyway. A reading's time may be up to `accept_ahead` in the future. Pending readings
    are moved to the table after `flush_seconds`, or when there are `flush_readings`; at most `journal_limit` bytes may
    be pending. `replace_journal` accepts another journal than the one that the data names. `table_files` is how the
    table's files are written. `read_only` opens data that a server may be using, without a lock and without changes.

    `fresh` tells of readings as they are stored.

    Raises UsageError for a folder that is in use, has another format or can't be written, for a journal of other data,
    for a URL without `journal`, and without the extra `[heartrate]`; UntrustedDataError if the data is damaged or its
    journal is missing; UnreachableError if the table can't be opened.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        journal: Path | str | None = None,
        journal_commit: CommitLevel | None = None,
        replace_journal: bool = False,
        priorities: Mapping[str, int] = PRIORITIES,
        retain: timedelta | None = None,
        trust_clock: bool = False,
        accept_ahead: timedelta = timedelta(days=1),
        flush_seconds: float = 5.0,
        flush_readings: int = 100_000,
        journal_limit: int = 1 << 30,
        table_files: FileFormat | None = None,
        read_only: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        with needs_extra("heartrate"):
            from mockexport.heartrate.node import Node
            from mockexport.heartrate.table import DeltaStore, Pending

        self._locations = Locations(data, journal)
        self._priorities, self._retain, self._now = dict(priorities), retain, now
        self._trust_clock, self._accept_ahead = trust_clock, accept_ahead // timedelta(microseconds=1)
        self._flush_seconds, self._flush_readings, self._journal_limit = flush_seconds, flush_readings, journal_limit
        self._statistics, self._counting = Statistics(), threading.Lock()
        self._days: dict[tuple[date, frozenset[str], int], DaySummary] = {}
        self._flushing, self._maintaining = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._flusher: BackgroundThread | None = None
        self._maintenance: BackgroundThread | None = None
        self._pending = Pending()
        self.fresh = FreshReadings()
        self._journal: Journal | None = None
        self._node: Node | None = None
        self._locks: list[IO[bytes]] = []
        if read_only:
            self._locations.find_journal()
            self._read_only_store = DeltaStore(self._locations.table, read_only=True)
            return
        try:
            self._locations.claim(self._locks, replace_journal=replace_journal)
            self._journal = self._locations.open_journal(self._stored, journal_commit)
            self._node = Node(self._locations, self._journal, self._pending, table_files)
        except BaseException:
            self.close()
            raise
        self._flushed = time.monotonic()
        self._flusher = BackgroundThread("flusher", min(POLL_SECONDS, flush_seconds), self._flush_when_due, self._stop)
        self._maintenance = BackgroundThread("maintenance", MAINTENANCE_SECONDS, self._maintain, self._stop)

    @property
    def _store(self) -> DeltaStore:
        return self._node.store if self._node else self._read_only_store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Move pending readings to the table if possible, and close everything."""
        self._stop.set()
        threads = [thread for thread in (self._flusher, self._maintenance) if thread]
        for thread in threads:
            thread.join(CLOSE_SECONDS)
        if threads:
            self._flusher = self._maintenance = None
            try:
                self.flush()
            except BaseException as error:  # noqa: BLE001 -- a panic too: the rest is to be closed all the same
                log.warning("pending readings stay in the journal: %s", str(error) or type(error).__name__)
        if self._journal:
            self._journal.close()
        for lock in self._locks:
            lock.close()
        self._locks = []

    # Writing

    def accept(self, readings: Readings) -> Future[None]:
        """Store a batch of 1 to 1,000 readings; the future is done when they are on disk and visible to queries.

        Raises JournalFullError, or JournalError if that can't be guaranteed. The future may fail with JournalError;
        then none of them is stored.
        """
        if not 1 <= len(readings) <= READINGS_A_BATCH:
            raise ValueError(f"a batch has 1 to {READINGS_A_BATCH} readings, not {len(readings)}")
        journal = self._writable()
        if self._flusher and (problem := self._flusher.problem()):
            raise JournalError(problem)
        payload = encode(readings)
        if self._pending_bytes(journal) + len(payload) > self._journal_limit:
            raise JournalFullError(self._full(), retry_after=max(1, round(self._flush_seconds)))
        return journal.append(payload)

    def _stored(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take batches that are in the journal now, from this server or another one."""
        self._pending.add(stream, entries)
        self.fresh.tell(entry.payload for entry in entries)

    def problem(self) -> str | None:
        """Return why a batch would be refused now; None if it would be accepted."""
        journal = self._writable()
        problems = [thread.problem() for thread in (self._flusher, self._maintenance) if thread]
        full = self._full() if self._pending_bytes(journal) >= self._journal_limit else None
        unread = self._flusher.failing(READ_JOURNAL) if self._flusher else None
        return next(filter(None, [journal.problem(), *problems, unread, full]), None)

    def sharing(self) -> dict[str, Any]:
        """Return how this server stands among those that share its journal; nothing if the journal is its own."""
        return self.statistics().sharing()

    @property
    def documents(self) -> Documents:
        """What all servers of this service share besides the readings; in memory if there is one server."""
        return self._writable().documents

    def latest(self) -> int:
        """Return the latest time that a reading may have, in microseconds since 1970.

        If the clock went back since the last batch, the time of that batch counts: valid readings must not be refused.
        Only ids of a journal that is not shared are times.
        """
        journal = self._writable()
        newest = max(journal.positions.values(), default=0) if journal.role == "alone" else 0
        return min(LATEST, max(microseconds_of(self._now()), newest) + self._accept_ahead)

    def _pending_bytes(self, journal: Journal) -> int:
        return self._pending.bytes + journal.waiting_bytes

    def _full(self) -> str:
        error = self._flusher.last_error if self._flusher else None
        return f"the journal has reached its limit of {self._journal_limit:,} bytes" + (f": {error}" if error else "")

    def _writable(self) -> Journal:
        if self._journal is None:
            raise UsageError("the heart-rate data is open read-only")
        return self._journal

    # Reading

    def query(self, user: str, start: int, end: int, device: str | None = None) -> list[Point]:
        """Return a user's points in order, from the readings with `start <= time <= end` (microseconds since 1970).

        Raises UnreachableError if the table can't be read.
        """
        from mockexport.heartrate.table import points

        if start > end:
            return []

        def answer() -> list[Point]:
            pending, snapshot = self._view()
            return points(self._store, snapshot, pending, user, start, end, device, self._priorities)

        return self._read(answer, newest=True)

    def days(self) -> list[DaySummary]:
        """Return a summary of each day, by date. Only days that have changed since the last call are counted again.

        Raises UnreachableError if the table can't be read.
        """
        return self._read(lambda: self._summaries(*self._view()), newest=True)

    def _summaries(self, pending: list[pl.DataFrame], snapshot: Snapshot) -> list[DaySummary]:
        from mockexport.heartrate.table import days_in, summarise_day

        known: dict[tuple[date, frozenset[str], int], DaySummary] = {}
        for day, (files, sequence) in days_in(snapshot, pending).items():
            key = (day, frozenset(file.path for file in files), sequence)
            known[key] = self._days.get(key) or summarise_day(self._store, day, files, pending)
        self._days = known
        return list(known.values())

    def rows(self, day: DaySummary) -> Generator[pl.DataFrame]:
        """Yield a day's distinct readings: user, device, time (microseconds since 1970), rate; by user, time, device.

        Raises ChangedError if the day has changed since its summary, or its files were removed; UnreachableError if the
        table can't be read.
        """
        from mockexport.heartrate.table import days_in, rows_of

        pending, snapshot = self._read(self._view)  # the snapshot is held until the end, so its files are not deleted
        if day not in self._read(lambda: self._summaries(pending, snapshot)):
            raise ChangedError(f"the readings of {day.date} have changed since they were counted; start again")
        files, _ = days_in(snapshot, pending)[day.date]
        rows = 0
        frames = rows_of(self._store, day.date, files, pending)
        while (frame := self._read(lambda: self._next_of(day, frames))) is not None:
            rows += frame.height
            yield frame
        if rows != day.rows:
            raise ChangedError(f"the readings of {day.date} have changed since they were counted; start again")

    def _next_of(self, day: DaySummary, frames: Generator[pl.DataFrame]) -> pl.DataFrame | None:
        try:
            return next(frames, None)
        except FileNotFoundError as error:  # of a table that another process tidies
            raise ChangedError(f"the readings of {day.date} were dropped or moved while they were read") from error

    def _view(self) -> tuple[list[pl.DataFrame], Snapshot]:
        """Return the pending readings, then the table: readings are in the table before they leave the pending ones."""
        if self._node:
            return self._node.view()
        from mockexport.heartrate.table import Pending

        pending = Pending()
        kept = self._locations.read_journal()
        pending.add(kept.id, kept.entries)
        self._store.refresh()
        self._locations.check_table(self._store, kept.id, {kept.id: kept.released})
        return pending.frames(), self._store.snapshot()

    def _read(self, work: Callable[[], T], *, newest: bool = False) -> T:
        """Read; with `newest` once more if another server may have deleted files of the version that was loaded."""
        import polars as pl

        failures = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError)
        try:
            return work()
        except failures as error:
            if newest and self._node and self._node.is_following():
                self._node.refresh()
                return self._read(work)
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UnreachableError(f"cannot read the table: {reason}; try again") from error

    # Maintenance

    def flush(self) -> None:
        """Move the readings that are pending now to the table, unless another node does that.

        Raises UnreachableError or JournalError.
        """
        from mockexport.heartrate.table import flush

        journal = self._writable()
        with self._flushing:
            if not (self._node and self._node.lead()):
                return
            self._node.catch_up()
            began, last = time.monotonic(), journal.positions
            while lacks(journal.released, last) and flush(self._pending, journal, self._store):
                seconds, began = time.monotonic() - began, time.monotonic()
                self._count(flushes=self._statistics.flushes + 1, last_flush_seconds=seconds)

    def compact(self, *, fully: bool = True) -> None:
        """Merge each day's files into one sorted run; without `fully`, only where there are many files."""
        from mockexport.heartrate.table import compact

        with self._maintaining:
            if not (self._node and self._node.lead()):
                return
            done = compact(self._writable(), self._store, self._stop, fully=fully)
            self._count(compactions=self._statistics.compactions + done)

    def drop_old_days(self) -> None:
        """Drop the days that ended longer ago than `retain`. Raises UntrustedDataError if the clock may have jumped."""
        from mockexport.heartrate.table import drop_old_days

        if self._retain is None:
            return
        with self._maintaining:
            if not (self._node and self._node.lead()):
                return
            dropped = drop_old_days(
                self._writable(), self._store, self._retain, self._now(), trust_clock=self._trust_clock
            )
        if dropped:
            log.info("dropped %d days up to %s", len(dropped), dropped[-1])
            self._count(dropped_days=self._statistics.dropped_days + len(dropped))

    def tidy(self) -> None:
        """Shorten the table's log, and delete files that are no longer used."""
        from mockexport.heartrate.table import tidy

        with self._maintaining:
            if self._node and self._node.lead():
                tidy(self._writable(), self._store)

    def statistics(self) -> Statistics:
        """Return a snapshot of the statistics."""
        snapshot = self._store.snapshot()
        errors = [thread.last_error for thread in (self._flusher, self._maintenance) if thread]
        found = replace(
            self._statistics,
            last_error=next(filter(None, errors), None),
            table_version=snapshot.version,
            files=sum(map(len, snapshot.days.values())),
            days=len(snapshot.days),
        )
        return found.with_journal(self._journal, self._pending) if self._journal else found

    def _count(self, **values: float) -> None:
        with self._counting:
            self._statistics = replace(self._statistics, **values)  # type: ignore[arg-type]

    def _flush_when_due(self, thread: BackgroundThread) -> None:
        if self._node:
            thread.attempt(READ_JOURNAL, self._node.catch_up)
            thread.attempt("load the table", self._node.follow)
        thread.attempt("convert new batches", self._pending.frames)
        waiting, since = self._pending.readings, time.monotonic() - self._flushed
        late = since >= self._flush_seconds and waiting
        if late or (waiting >= self._flush_readings and since >= FLUSH_PAUSE):
            self._flushed = time.monotonic()
            thread.attempt(FLUSH, self.flush)
            if self._journal and thread.failing_seconds(FLUSH) > RESIGN_SECONDS:
                log.warning("another server may lead: %s", thread.failing(FLUSH))
                self._journal.resign(RESIGN_SECONDS)

    def _maintain(self, thread: BackgroundThread) -> None:
        for what, work in (
            ("compact", partial(self.compact, fully=False)),
            ("drop old days", self.drop_old_days),
            ("tidy", self.tidy),
        ):
            if not self._stop.is_set():
                thread.attempt(what, work)
