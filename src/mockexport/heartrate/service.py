"""The whole behind one object: journal, pending readings, store, and the threads that move readings on."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeVar

from mockexport.errors import MockExportError, UnreachableError, UntrustedDataError, UsageError
from mockexport.heartrate.folder import Lock, check_marker, make_folder
from mockexport.heartrate.journal import JournalFullError, SqliteJournal
from mockexport.heartrate.journal_file import read_entries
from mockexport.heartrate.readings import READINGS_A_BATCH, Day, Point, Readings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from concurrent.futures import Future
    from datetime import date
    from types import TracebackType

    import polars as pl

    from mockexport.heartrate.table import Snapshot

__all__ = ["PRIORITIES", "HeartRate", "Statistics"]

PRIORITIES: Mapping[str, int] = MappingProxyType({"device_a": 1, "device_b": 2})
TABLE = "table"
JOURNAL = "journal.sqlite"
LOOK_SECONDS = 0.2  # how often the flusher makes frames of what came in, so that a query finds little left to make
FLUSH_PAUSE = 1.0  # under load flushes get larger rather than more frequent
UPKEEP_SECONDS = 2.0
FAILED_PAUSE = 1.0
CLOSE_SECONDS = 60.0

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Statistics:
    """How the service does: bytes, readings, positions (batch ids), versions, counts since its start, seconds."""

    journal_bytes: int = 0
    pending_readings: int = 0
    journaled_position: int = 0
    flushed_position: int = 0
    table_version: int = 0
    files: int = 0
    days: int = 0
    commits: int = 0
    last_group_size: int = 0
    largest_group_size: int = 0
    flushes: int = 0
    last_flush_seconds: float = 0.0
    compactions: int = 0
    dropped_days: int = 0
    last_error: str | None = None


class HeartRate:
    """Takes readings in, keeps them and answers for them. Use it in a `with`; safe to use from any thread.

    `data` is a folder, or the URL of a table; then `journal` names a local folder for the journal. `retain` is how
    long a day is kept after its end, `flush_seconds` and `flush_readings` when pending readings go to the table, and
    `journal_limit` how many bytes may be pending. `read_only` opens a folder that a server may be using; it takes no
    lock and changes nothing.

    Raises UsageError for a folder that is in use, of another format or can't be written, for a URL without `journal`,
    and when the extra `[heartrate]` is not installed; UntrustedDataError for a damaged one; UnreachableError for a
    table that can't be opened.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        journal: Path | None = None,
        priorities: Mapping[str, int] = PRIORITIES,
        retain: timedelta | None = None,
        flush_seconds: float = 5.0,
        flush_readings: int = 100_000,
        journal_limit: int = 1 << 30,
        read_only: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        _need_extra()
        from mockexport.heartrate.pending import Pending
        from mockexport.heartrate.store import DeltaStore, is_url

        if is_url(data) and journal is None:
            raise UsageError(f"{data} needs a local folder for its journal; name one")
        self._priorities, self._retain, self._now = dict(priorities), retain, now
        self._flush_seconds, self._flush_readings, self._journal_limit = flush_seconds, flush_readings, journal_limit
        self._read_only = read_only
        self._statistics, self._counting = Statistics(), threading.Lock()
        self._days: dict[tuple[date, frozenset[str], int], Day] = {}
        self._flushing, self._keeping_up = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._pending = Pending()
        self._journal: SqliteJournal | None = None
        self._locks: list[Lock] = []
        table = str(data) if is_url(data) else str(Path(data) / TABLE)
        homes = {} if is_url(data) else {Path(data): TABLE}
        if journal and journal not in homes:
            homes[journal] = table if is_url(data) else str(Path(table).absolute())
        self._journal_path = (journal or Path(data)) / JOURNAL
        try:
            if read_only:
                for home, named in homes.items():
                    check_marker(home, named)
                self._store = DeltaStore(table, read_only=True)
                return
            self._locks.extend(make_folder(home, named) for home, named in homes.items())
            self._journal = SqliteJournal(self._journal_path, self._pending.add)
            self._store = DeltaStore(table, durable=self._journal.version, checkpoint=self._journal.checkpoint)
            self._recover(self._journal)
        except BaseException:
            self.close()
            raise
        for name, work in (("flusher", self._flush_often), ("upkeep", self._keep_up)):
            self._threads.append(threading.Thread(target=work, name=f"heart-rate {name}", daemon=True))
            self._threads[-1].start()

    def _recover(self, journal: SqliteJournal) -> None:
        """Take up what the journal holds and the table does not."""
        has = self._store.position(journal.id) or 0
        if has > journal.released:
            journal.release(has, self._store.settle())
        else:
            journal.note(self._store.settle())
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
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)
        if self._threads:
            try:
                self.flush()
            except MockExportError as error:
                log.warning("what is pending stays in the journal: %s", error)
        self._threads = []
        if self._journal:
            self._journal.close()
        for lock in self._locks:
            lock.release()
        self._locks = []

    # In

    def accept(self, readings: Readings) -> Future[None]:
        """Keep a batch of 1 to 1,000 readings; the future is done when they are on disk and any query sees them.

        Raises JournalFullError at once; the future may fail with JournalError, and then none of them is kept.
        """
        from mockexport.heartrate.pending import encode

        if not 1 <= len(readings) <= READINGS_A_BATCH:
            raise ValueError(f"a batch has 1 to {READINGS_A_BATCH} readings, not {len(readings)}")
        journal = self._writable()
        payload = encode(readings)
        if self._held(journal) + len(payload) > self._journal_limit:
            raise JournalFullError(self._full(), retry_after=max(1, round(self._flush_seconds)))
        return journal.append(payload)

    def problem(self) -> str | None:
        """Tell why a batch would not be kept now; None when it would."""
        journal = self._writable()
        return journal.problem() or (self._full() if self._held(journal) >= self._journal_limit else None)

    def _held(self, journal: SqliteJournal) -> int:
        return self._pending.bytes + journal.waiting_bytes

    def _full(self) -> str:
        because = self._statistics.last_error
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
        from mockexport.heartrate.questions import points

        if start > end:
            return []
        pending, snapshot = self._look()
        return self._reading(lambda: points(self._store, snapshot, pending, user, start, end, device, self._priorities))

    def days(self) -> list[Day]:
        """Return what is kept of each day, by date. Days that haven't changed since are not counted again."""
        from mockexport.heartrate.questions import day_of, days_in

        pending, snapshot = self._look()
        known: dict[tuple[date, frozenset[str], int], Day] = {}
        for day, (files, sequence) in days_in(snapshot, pending).items():
            key = (day, frozenset(file.path for file in files), sequence)
            found = self._days.get(key)
            known[key] = found or self._reading(partial(day_of, self._store, day, files, pending))
        self._days = known
        return list(known.values())

    def rows(self, day: Day) -> Generator[pl.DataFrame]:
        """Give a day's distinct readings: user, device, time (microseconds since 1970), rate; by user, time, device.

        Raises UntrustedDataError when the day is no longer what `day` says.
        """
        from mockexport.heartrate.questions import days_in, rows_of

        if next((found for found in self.days() if found.date == day.date), None) != day:
            raise UntrustedDataError(f"the readings of {day.date} have changed since they were counted; begin anew")
        pending, snapshot = self._look()
        files, _ = days_in(snapshot, pending)[day.date]
        rows = 0
        for frame in rows_of(self._store, day.date, files, pending):
            rows += frame.height
            yield frame
        if rows != day.rows:
            raise UntrustedDataError(f"the readings of {day.date} have changed since they were counted; begin anew")

    def _look(self) -> tuple[list[pl.DataFrame], Snapshot]:
        """Return what is pending, and then the table: what leaves the one is in the other before."""
        if not self._read_only:
            return self._pending.frames(), self._store.snapshot()
        from mockexport.heartrate.pending import Pending

        pending = Pending()
        pending.add(read_entries(self._journal_path))
        self._store.refresh()
        return pending.frames(), self._store.snapshot()

    def _reading(self, work: Callable[[], T]) -> T:
        import polars as pl

        try:
            return work()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UnreachableError(f"cannot read the table: {str(error).splitlines()[0]}; try again") from error

    # Upkeep

    def flush(self) -> None:
        """Move what is pending now to the table. Raises UnreachableError or JournalError."""
        from mockexport.heartrate.upkeep import flush

        journal = self._writable()
        with self._flushing:
            began, last = time.monotonic(), journal.position
            while journal.released < last and flush(self._pending, journal, self._store):
                seconds, began = time.monotonic() - began, time.monotonic()
                self._count(flushes=self._statistics.flushes + 1, last_flush_seconds=seconds, last_error=None)

    def compact(self, *, fully: bool = True) -> None:
        """Make one sorted run of each day's files, now; or only where there are many, unless `fully`."""
        from mockexport.heartrate.upkeep import compact

        with self._keeping_up:
            done = compact(self._writable(), self._store, self._stop, fully=fully)
            self._count(compactions=self._statistics.compactions + done)

    def drop_old_days(self) -> None:
        """Drop the days from the table that ended longer ago than `retain`, now."""
        from mockexport.heartrate.upkeep import drop_old_days

        if self._retain is None:
            return
        with self._keeping_up:
            dropped = drop_old_days(self._writable(), self._store, self._retain, self._now())
        if dropped:
            log.info("dropped %d days up to %s", len(dropped), dropped[-1])
            self._count(dropped_days=self._statistics.dropped_days + len(dropped))

    def tidy(self) -> None:
        """Shorten the table's log and delete files that nothing needs any more, now."""
        from mockexport.heartrate.upkeep import tidy

        with self._keeping_up:
            tidy(self._writable(), self._store)

    def statistics(self) -> Statistics:
        """Return how it does."""
        snapshot = self._store.snapshot()
        found = replace(
            self._statistics,
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

    def _count(self, **values: float | str | None) -> None:
        with self._counting:
            self._statistics = replace(self._statistics, **values)  # type: ignore[arg-type]

    def _flush_often(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(min(LOOK_SECONDS, self._flush_seconds)):
            self._try("look at what came in", self._pending.frames)
            waiting, since = self._pending.readings, time.monotonic() - last
            late = since >= self._flush_seconds and waiting
            if late or (waiting >= self._flush_readings and since >= FLUSH_PAUSE):
                last = time.monotonic()
                self._try("flush", self.flush)

    def _keep_up(self) -> None:
        while not self._stop.wait(UPKEEP_SECONDS):
            for what, work in (
                ("compact", partial(self.compact, fully=False)),
                ("drop old days", self.drop_old_days),
                ("tidy", self.tidy),
            ):
                if not self._stop.is_set():
                    self._try(what, work)

    def _try(self, what: str, work: Callable[[], object]) -> None:
        """Do it; when it fails say so once, and leave the next try some time."""
        try:
            work()
        except Exception as error:  # a thread that ends would be missed only much later
            if self._stop.is_set():
                return
            message = f"cannot {what}: {error}"
            if self._statistics.last_error != message:
                log.log(logging.ERROR, "%s", message, exc_info=None if isinstance(error, MockExportError) else error)
            self._count(last_error=message)
            self._stop.wait(FAILED_PAUSE)


def _need_extra() -> None:
    try:
        import deltalake  # noqa: F401
        import polars as pl  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "heart-rate data needs polars and deltalake; install them with: pip install 'mockexport[heartrate]'"
        ) from error
