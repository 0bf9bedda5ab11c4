"""The whole behind one object: journal, pending readings, store, and the threads that move readings on."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Self, TypeVar

from mockexport.errors import ChangedError, UnreachableError, UsageError
from mockexport.extras import needs_extra
from mockexport.heartrate.background import BackgroundThread
from mockexport.heartrate.journal import JournalError, JournalFullError, SqliteJournal
from mockexport.heartrate.locations import Locations
from mockexport.heartrate.readings import LATEST, READINGS_A_BATCH, DaySummary, Point, Readings, microseconds_of
from mockexport.heartrate.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from concurrent.futures import Future
    from datetime import date
    from pathlib import Path
    from types import TracebackType

    import polars as pl

    from mockexport.heartrate.table import Snapshot

__all__ = ["PRIORITIES", "HeartRate", "Statistics"]

PRIORITIES: Mapping[str, int] = MappingProxyType({"device_a": 1, "device_b": 2})
LOOK_SECONDS = 0.2  # how often the flusher makes frames of what came in, so that a query finds little left to make
FLUSH_PAUSE = 1.0  # under load flushes get larger rather than more frequent
UPKEEP_SECONDS = 2.0
CLOSE_SECONDS = 60.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class HeartRate:
    """Takes readings in, keeps them and answers for them. Use it in a `with`; safe to use from any thread.

    `data` is a folder, or the URL of a table; then `journal` names a local folder for the journal. `retain` is how
    long a day is kept after its end, by a clock that didn't jump or with `trust_clock`; `accept_ahead` is how far ahead
    of the clock a reading's time may be. `flush_seconds` and `flush_readings` tell when pending readings go to the
    table, and `journal_limit` how many bytes may be pending. With `replace_journal` another journal may take the place
    of the one that the data names. `read_only` opens a folder that a server may be using; it takes no lock and changes
    nothing.

    Raises UsageError for a folder that is in use, of another format or can't be written, for a journal that isn't the
    one of the data, for a URL without `journal`, and when the extra `[heartrate]` is not installed; UntrustedDataError
    for a damaged one, and for one whose journal is missing; UnreachableError for a table that can't be opened.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        journal: Path | None = None,
        replace_journal: bool = False,
        priorities: Mapping[str, int] = PRIORITIES,
        retain: timedelta | None = None,
        trust_clock: bool = False,
        accept_ahead: timedelta = timedelta(days=1),
        flush_seconds: float = 5.0,
        flush_readings: int = 100_000,
        journal_limit: int = 1 << 30,
        read_only: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        with needs_extra("heartrate"):
            from mockexport.heartrate.table import DeltaStore, Pending

        self._locations = Locations(data, journal)
        self._priorities, self._retain, self._now = dict(priorities), retain, now
        self._trust_clock, self._accept_ahead = trust_clock, accept_ahead // timedelta(microseconds=1)
        self._flush_seconds, self._flush_readings, self._journal_limit = flush_seconds, flush_readings, journal_limit
        self._statistics, self._counting = Statistics(), threading.Lock()
        self._days: dict[tuple[date, frozenset[str], int], DaySummary] = {}
        self._flushing, self._keeping_up = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._flusher: BackgroundThread | None = None
        self._upkeep: BackgroundThread | None = None
        self._pending = Pending()
        self._journal: SqliteJournal | None = None
        self._locks: list[IO[bytes]] = []
        if read_only:
            self._locations.find_journal()
            self._store = DeltaStore(self._locations.table, read_only=True)
            return
        try:
            self._locations.claim(self._locks, replace_journal=replace_journal)
            self._journal = SqliteJournal(self._locations.journal, self._pending.add)
            self._store = DeltaStore(
                self._locations.table,
                durable=self._journal.version,
                checkpoint=self._journal.checkpoint,
                journal=self._journal.id,
            )
            self._recover(self._journal, replace_journal=replace_journal)
        except BaseException:
            self.close()
            raise
        self._flushed = time.monotonic()
        self._flusher = BackgroundThread("flusher", min(LOOK_SECONDS, flush_seconds), self._flush_when_due, self._stop)
        self._upkeep = BackgroundThread("upkeep", UPKEEP_SECONDS, self._keep_up, self._stop)

    def _recover(self, journal: SqliteJournal, *, replace_journal: bool) -> None:
        """See that journal and table belong together, and take up what the one holds and the other does not."""
        from mockexport.heartrate.table import SEQUENCES_A_BATCH

        self._locations.check_table(self._store, journal.id, journal.released, replace_journal=replace_journal)
        has = self._store.position(journal.id) or 0
        if has > journal.released:
            journal.release(has, self._store.sync_log())
        else:
            journal.note(self._store.sync_log())
        self._locations.name(self._store, journal.id)
        journal.go_on_after(self._store.snapshot().sequence // SEQUENCES_A_BATCH)
        self._pending.add([entry for entry in journal.entries() if entry.id > has])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Move what is pending to the table if that can be done, and let go of everything."""
        self._stop.set()
        workers = [worker for worker in (self._flusher, self._upkeep) if worker]
        for worker in workers:
            worker.join(CLOSE_SECONDS)
        if workers:
            self._flusher = self._upkeep = None
            try:
                self.flush()
            except BaseException as error:  # noqa: BLE001 -- a panic too: the rest is to be closed all the same
                log.warning("what is pending stays in the journal: %s", str(error) or type(error).__name__)
        if self._journal:
            self._journal.close()
        for lock in self._locks:
            lock.close()
        self._locks = []

    # In

    def accept(self, readings: Readings) -> Future[None]:
        """Keep a batch of 1 to 1,000 readings; the future is done when they are on disk and any query sees them.

        Raises JournalFullError at once, or JournalError where that can't be promised; the future may fail with
        JournalError, and then none of them is kept.
        """
        from mockexport.heartrate.table import encode

        if not 1 <= len(readings) <= READINGS_A_BATCH:
            raise ValueError(f"a batch has 1 to {READINGS_A_BATCH} readings, not {len(readings)}")
        journal = self._writable()
        if self._flusher and (problem := self._flusher.problem()):
            raise JournalError(problem)
        payload = encode(readings)
        if self._held(journal) + len(payload) > self._journal_limit:
            raise JournalFullError(self._full(), retry_after=max(1, round(self._flush_seconds)))
        return journal.append(payload)

    def problem(self) -> str | None:
        """Tell why a batch would not be kept now; None when it would."""
        journal = self._writable()
        problems = [worker.problem() for worker in (self._flusher, self._upkeep) if worker]
        full = self._full() if self._held(journal) >= self._journal_limit else None
        return next(filter(None, [journal.problem(), *problems, full]), None)

    def latest(self) -> int:
        """Return the latest time that a reading may have, in microseconds since 1970.

        A clock that went back since the last batch came is not gone by, or good readings would be refused.
        """
        journal = self._writable()
        return min(LATEST, max(microseconds_of(self._now()), journal.position) + self._accept_ahead)

    def _held(self, journal: SqliteJournal) -> int:
        return self._pending.bytes + journal.waiting_bytes

    def _full(self) -> str:
        because = self._flusher.last_error if self._flusher else None
        return f"the journal holds {self._journal_limit:,} bytes, all that it may" + (f": {because}" if because else "")

    def _writable(self) -> SqliteJournal:
        if self._journal is None:
            raise UsageError("the heart-rate data was opened to be read only")
        return self._journal

    # Out

    def query(self, user: str, start: int, end: int, device: str | None = None) -> list[Point]:
        """Return a user's points, ascending, from the readings with `start <= time <= end` (microseconds since 1970).

        Raises UnreachableError when the table can't be read.
        """
        from mockexport.heartrate.table import points

        if start > end:
            return []

        def answer() -> list[Point]:
            pending, snapshot = self._look()
            return points(self._store, snapshot, pending, user, start, end, device, self._priorities)

        return self._reading(answer)

    def days(self) -> list[DaySummary]:
        """Return what is kept of each day, by date. Days that haven't changed since are not counted again.

        Raises UnreachableError when the table can't be read.
        """
        return self._reading(lambda: self._counted(*self._look()))

    def _counted(self, pending: list[pl.DataFrame], snapshot: Snapshot) -> list[DaySummary]:
        from mockexport.heartrate.table import days_in, summarise_day

        known: dict[tuple[date, frozenset[str], int], DaySummary] = {}
        for day, (files, sequence) in days_in(snapshot, pending).items():
            key = (day, frozenset(file.path for file in files), sequence)
            known[key] = self._days.get(key) or summarise_day(self._store, day, files, pending)
        self._days = known
        return list(known.values())

    def rows(self, day: DaySummary) -> Generator[pl.DataFrame]:
        """Give a day's distinct readings: user, device, time (microseconds since 1970), rate; by user, time, device.

        Raises ChangedError when the day is no longer what `day` says, or its files have gone; UnreachableError when the
        table can't be read.
        """
        from mockexport.heartrate.table import days_in, rows_of

        pending, snapshot = self._reading(self._look)  # held here until the end: its files are not deleted meanwhile
        if day not in self._reading(lambda: self._counted(pending, snapshot)):
            raise ChangedError(f"the readings of {day.date} have changed since they were counted; begin anew")
        files, _ = days_in(snapshot, pending)[day.date]
        rows = 0
        frames = rows_of(self._store, day.date, files, pending)
        while (frame := self._reading(lambda: self._next_of(day, frames))) is not None:
            rows += frame.height
            yield frame
        if rows != day.rows:
            raise ChangedError(f"the readings of {day.date} have changed since they were counted; begin anew")

    def _next_of(self, day: DaySummary, frames: Generator[pl.DataFrame]) -> pl.DataFrame | None:
        try:
            return next(frames, None)
        except FileNotFoundError as error:  # of a table that another process tidies
            raise ChangedError(f"the readings of {day.date} were dropped or moved while they were read") from error

    def _look(self) -> tuple[list[pl.DataFrame], Snapshot]:
        """Return what is pending, and then the table: what leaves the one is in the other before."""
        if self._journal:
            return self._pending.frames(), self._store.snapshot()
        from mockexport.heartrate.table import Pending

        pending = Pending()
        kept = self._locations.read_journal()
        pending.add(kept.entries)
        self._store.refresh()
        self._locations.check_table(self._store, kept.id, kept.released)
        return pending.frames(), self._store.snapshot()

    def _reading(self, work: Callable[[], T]) -> T:
        import polars as pl

        failures = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError)
        try:
            return work()
        except failures as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise UnreachableError(f"cannot read the table: {told}; try again") from error

    # Upkeep

    def flush(self) -> None:
        """Move what is pending now to the table. Raises UnreachableError or JournalError."""
        from mockexport.heartrate.table import flush

        journal = self._writable()
        with self._flushing:
            began, last = time.monotonic(), journal.position
            while journal.released < last and flush(self._pending, journal, self._store):
                seconds, began = time.monotonic() - began, time.monotonic()
                self._count(flushes=self._statistics.flushes + 1, last_flush_seconds=seconds)

    def compact(self, *, fully: bool = True) -> None:
        """Make one sorted run of each day's files, now; or only where there are many, unless `fully`."""
        from mockexport.heartrate.table import compact

        with self._keeping_up:
            done = compact(self._writable(), self._store, self._stop, fully=fully)
            self._count(compactions=self._statistics.compactions + done)

    def drop_old_days(self) -> None:
        """Drop the days from the table that ended longer ago than `retain`, now.

        Raises UntrustedDataError where the clock may have jumped.
        """
        from mockexport.heartrate.table import drop_old_days

        if self._retain is None:
            return
        with self._keeping_up:
            dropped = drop_old_days(
                self._writable(), self._store, self._retain, self._now(), trust_clock=self._trust_clock
            )
        if dropped:
            log.info("dropped %d days up to %s", len(dropped), dropped[-1])
            self._count(dropped_days=self._statistics.dropped_days + len(dropped))

    def tidy(self) -> None:
        """Shorten the table's log and delete files that nothing needs any more, now."""
        from mockexport.heartrate.table import tidy

        with self._keeping_up:
            tidy(self._writable(), self._store)

    def statistics(self) -> Statistics:
        """Return how it does."""
        snapshot = self._store.snapshot()
        errors = [worker.last_error for worker in (self._flusher, self._upkeep) if worker]
        found = replace(
            self._statistics,
            last_error=next(filter(None, errors), None),
            table_version=snapshot.version,
            files=sum(map(len, snapshot.days.values())),
            days=len(snapshot.days),
        )
        if self._journal is None:
            return found
        return replace(
            found,
            journal_bytes=self._held(self._journal),
            pending_readings=self._pending.readings,
            journaled_position=self._journal.position,
            flushed_position=self._journal.released,
            commits=self._journal.commits,
            last_group_size=self._journal.group_size,
            largest_group_size=self._journal.largest_group,
        )

    def _count(self, **values: float) -> None:
        with self._counting:
            self._statistics = replace(self._statistics, **values)  # type: ignore[arg-type]

    def _flush_when_due(self, worker: BackgroundThread) -> None:
        worker.attempt("look at what came in", self._pending.frames)
        waiting, since = self._pending.readings, time.monotonic() - self._flushed
        late = since >= self._flush_seconds and waiting
        if late or (waiting >= self._flush_readings and since >= FLUSH_PAUSE):
            self._flushed = time.monotonic()
            worker.attempt("flush", self.flush)

    def _keep_up(self, worker: BackgroundThread) -> None:
        for what, work in (
            ("compact", partial(self.compact, fully=False)),
            ("drop old days", self.drop_old_days),
            ("tidy", self.tidy),
        ):
            if not self._stop.is_set():
                worker.attempt(what, work)
