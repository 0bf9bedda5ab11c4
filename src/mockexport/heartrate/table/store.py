"""The store: a Delta Lake table of Parquet files, partitioned by UTC date, in a folder or under a URL.

A commit adds complete files that are on disk already. In a folder it counts once its log entry is on disk, too; this
module fsyncs it, because deltalake does not.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake._internal import DeltaFileSystemHandler  # the public one needs pyarrow
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.files import make_folder, sync_folder
from mockexport.heartrate.folder import OWNER_ONLY, is_url
from mockexport.heartrate.table.failure import one_line
from mockexport.heartrate.table.files import FileFormat
from mockexport.heartrate.table.log import drop_torn, sync_checkpoint, sync_entry, sync_file
from mockexport.heartrate.table.merge import SCHEMA
from mockexport.heartrate.table.schema import (
    CONFIGURATION,
    FORMAT,
    FORMAT_KEY,
    JOURNAL_KEY,
    TABLE_SCHEMA,
    FlushProgress,
    snapshot_of,
    statistics_of,
)
from mockexport.heartrate.table.unused import UnusedFiles
from mockexport.settings import store_options

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from mockexport.heartrate.table.schema import File, Snapshot

__all__ = ["DeltaStore"]

COMMITS_A_CHECKPOINT = 50
GRACE_SECONDS = 600.0  # replaced files stay this long, for other programs that read the table
VACUUM_SECONDS = 600.0
VACUUM_HOURS = 1  # GRACE_SECONDS for tables under a URL
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)  # they don't fsync
PART, THROUGH, TERM = ".part", ".through", ".term"  # suffixes of the names of journals and streams, in transactions
FAILURES = (DeltaError, OSError, pl.exceptions.PolarsError)


class DeltaStore:
    """A store that uses deltalake and Polars. The table is created if there is none.

    `durable` and `checkpoint` are the versions that were last recorded; a new table under a URL names the journal with
    the id `journal`. `grace` is how long replaced files stay, in seconds; `files` is how files are written. Raises
    UsageError for a table of another format, UnreachableError if it can't be opened or created, and UntrustedDataError
    if it has lost versions.

    Where several nodes share the journal, one at a time writes the table, in a `term` that is higher than those before.
    The table records it first, and again with each commit. A commit in an older term is refused: here if the table has
    a newer one already, and by deltalake if that comes at the same time, because both record the same transaction.
    """

    def __init__(
        self,
        table: str | Path,
        *,
        durable: int | None = None,
        checkpoint: int | None = None,
        journal: str | None = None,
        term: int = 0,
        read_only: bool = False,
        grace: float = GRACE_SECONDS,
        files: FileFormat | None = None,
    ) -> None:
        self.term = None if read_only else term
        self._term_name = f"{journal}{TERM}"
        self._root = str(table).rstrip("/") if is_url(table) else str(Path(table).absolute())
        self._folder = None if is_url(table) else Path(self._root)
        self._options = None if self._folder else store_options()
        self._files = files or FileFormat()
        self.grace = grace
        self._unused = UnusedFiles(self._folder) if self._folder else None
        self._lock = threading.RLock()
        self._writing: set[str] = set()
        self._snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()
        self._sync_again = False  # an fsync has failed
        self._vacuumed = time.monotonic()
        with self._failing("open"):
            if self._folder and not read_only:
                for folder in (self._folder, self._folder / "_delta_log") if durable is None else ():
                    make_folder(folder, OWNER_ONLY)
                drop_torn(self._folder, durable, checkpoint)
            self._table = self._open(journal, durable, read_only=read_only)
        self._check(durable)
        self._durable = -1 if durable is None else durable
        self._current = self._load()
        if not read_only:
            self.sync_log()

    @property
    def begun(self) -> int:
        """The newest term that the table has; 0 if it has none."""
        with self._lock:
            return self._table.transaction_version(self._term_name) or 0

    def begin_term(self) -> None:
        """Record the term in the table, so that nothing of an older one is written from then on."""
        with self._lock, self._failing("write to"):
            if self.term and self.begun < self.term:
                self._commit_actions([], {})
            self._check_term()
            self.sync_log()

    def _open(self, journal: str | None, durable: int | None, *, read_only: bool) -> DeltaTable:
        try:
            return DeltaTable(self._root, storage_options=self._options)
        except TableNotFoundError as error:
            if read_only:
                raise
            if durable is not None:  # nothing may be made in its place
                raise UntrustedDataError(
                    f"the table {self._root} is not there, but had version {durable}: restore it, or mount what has it"
                ) from error
        try:
            journals = {f"{JOURNAL_KEY}{journal}": ""} if journal and not self._folder else {}
            return DeltaTable.create(
                self._root,
                TABLE_SCHEMA,
                mode="ignore",
                partition_by=["date"],
                configuration=CONFIGURATION | journals,
                storage_options=self._options,
                commit_properties=CommitProperties(max_commit_retries=0),  # a retry would make it again, as version 1
                raise_if_key_not_exists=False,
            )
        except DeltaError:
            if not DeltaTable.is_deltatable(self._root, self._options):
                raise
            return DeltaTable(self._root, storage_options=self._options)  # another server has just made it

    def _check(self, durable: int | None) -> None:
        found = self._table.metadata().configuration.get(FORMAT_KEY)
        if found != FORMAT:
            raise UsageError(
                f"the table {self._root} has the format {found or 'unknown'}, and this version reads {FORMAT}: "
                "choose another place, or open it with the version that wrote it"
            )
        if durable is not None and self._table.version() < durable:
            raise UntrustedDataError(
                f"the table {self._root} ends at version {self._table.version()}, but had {durable}: restore its log"
            )

    # Reading

    def snapshot(self) -> Snapshot:
        """Return the newest version."""
        with self._lock:
            return self._current

    def refresh(self) -> None:
        """Load the versions that other processes have written."""
        with self._lock, self._failing("read"):
            self._table.update_incremental()
            if self._table.version() != self._current.version:
                self._current = self._load()

    def _load(self) -> Snapshot:
        snapshot = snapshot_of(self._table)
        self._snapshots.add(snapshot)
        return snapshot

    def scan(self, files: Sequence[File]) -> pl.LazyFrame:
        """Return the readings in these files."""
        paths = [f"{self._root}/{file.path}" for file in files]
        return pl.scan_parquet(
            paths, glob=False, hive_partitioning=False, cache=False, storage_options=self._options
        ).select(list(SCHEMA))

    def positions(self, streams: Iterable[str], suffix: str = "") -> dict[str, int]:
        """Return, by stream, the last batch up to which the table has everything; not those that it has nothing of."""
        with self._lock:
            found = {stream: self._table.transaction_version(f"{stream}{suffix}") for stream in streams}
        return {stream: position for stream, position in found.items() if position is not None}

    def flush_progress(self, journal: str, streams: Iterable[str]) -> FlushProgress | None:
        """Return the partial `append` of this journal that is still to be completed."""
        streams = list(streams)
        with self._lock:
            has, parts = self.positions(streams), self.positions(streams, PART)
            through = self._table.transaction_version(f"{journal}{THROUGH}")
        open_parts = {stream: part for stream, part in parts.items() if part > has.get(stream, 0)}
        return FlushProgress(open_parts, date.fromordinal(through)) if open_parts and through is not None else None

    # Writing

    def append(
        self,
        runs: Iterable[tuple[date, pl.DataFrame]],
        journal: str,
        positions: Mapping[str, int],
        through: date | None = None,
        had: Mapping[str, int] | None = None,
    ) -> int:
        """Add a run for each date, as `Store.append` describes."""
        name = uuid.uuid4().hex
        marks = dict(positions)
        if through:
            marks = {f"{stream}{PART}": position for stream, position in positions.items()}
            marks[f"{journal}{THROUGH}"] = through.toordinal()
        new = ((day, f"{name}-{n}", part) for day, run in runs for n, part in enumerate(self._files.sized([run])))
        assumed = {} if had is None else {stream: had.get(stream, 0) for stream in positions}
        return self._commit([], new, marks, assumed, data_change=True)

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Replace files of a day by one run."""
        name = uuid.uuid4().hex
        new = ((day, f"{name}-{number}", frame) for number, frame in enumerate(self._files.sized(frames)))
        return self._commit(old, new, {}, {}, data_change=False)

    def remove(self, old: Sequence[File]) -> int:
        """Remove files."""
        return self._commit(old, [], {}, {}, data_change=True)

    def _commit(
        self,
        old: Sequence[File],
        new: Iterable[tuple[date, str, pl.DataFrame]],
        marks: Mapping[str, int],
        assumed: Mapping[str, int],
        *,
        data_change: bool,
    ) -> int:
        """Write the new files, then commit them and the removal of the old ones; lock only for the commit.

        The table must still have the `old` files and the `assumed` positions. It gets the `marks` as transactions.
        """
        now = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(file.path, data_change, now, file.size, {"date": str(file.date)}) for file in old
        ]
        written: list[str] = []
        try:
            for day, name, frame in new:
                path = f"date={day}/{name}.parquet"
                self._writing.add(path)
                written.append(path)
                size = self._write(path, frame)
                actions.append(AddAction(path, size, {"date": str(day)}, now, data_change, statistics_of(frame)))
            if self._folder and written:
                sync_folder(self._folder)  # for the folders of the days, whoever made them
            with self._lock:
                self.refresh()
                self._check_term()
                if {**dict.fromkeys(assumed, 0), **self.positions(assumed)} != assumed:
                    raise OSError("another server has added the same batches")
                if not self._current.holds([file.path for file in old]):
                    raise OSError("another server has replaced the same files")
                self.sync_log()
                self._commit_actions(actions, marks)
                if not self._current.holds(written):
                    raise OSError("the committed files are not in the newest version")
                return self.sync_log()
        except FAILURES as error:
            raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error
        finally:
            self._writing.difference_update(written)  # uncommitted files are deleted later

    def _commit_actions(self, actions: Sequence[AddAction | RemoveAction], marks: Mapping[str, int]) -> None:
        """Commit to the newest version, with the marks and the term, and load the version that this makes."""
        self._table.create_write_transaction(
            list(actions),
            "append",
            TABLE_SCHEMA,
            ["date"],
            commit_properties=self._properties(marks),
            post_commithook_properties=NO_HOOKS,
        )
        self.refresh()

    def _properties(self, marks: Mapping[str, int]) -> CommitProperties:
        """Return what a commit records: the marks, and the term where there are terms."""
        terms = {self._term_name: self.term} if self.term else {}
        return CommitProperties(app_transactions=[Transaction(*mark) for mark in {**marks, **terms}.items()])

    def _check_term(self) -> None:
        """Raise UnreachableError if this node must not write the version that is loaded."""
        if self.term is None:
            raise UnreachableError(f"this server does not write the table {self._root}; another one does")
        if self.term and (found := self._table.transaction_version(self._term_name)) != self.term:
            raise UnreachableError(f"another server writes the table {self._root}, in term {found}, not {self.term}")

    def _write(self, path: str, frame: pl.DataFrame) -> int:
        """Write one file, which is on disk when this returns; return its size."""
        if self._folder:
            target = self._folder / path
            target.parent.mkdir(mode=0o700, exist_ok=True)
            target.touch(mode=0o600)
        self._files.write(frame, f"{self._root}/{path}", self._options)
        if self._folder:
            sync_file(target)
            sync_folder(target.parent)
            return target.stat().st_size
        # The handler could write the file, too, but holds the GIL while it does.
        return int(DeltaFileSystemHandler(self._root, self._options).open_input_file(path).size())

    def sync_log(self) -> int:
        """Make sure that the log is on disk up to the newest version; return it."""
        with self._lock:
            version = self._current.version
            if self._folder is None:
                return version
            log = self._folder / "_delta_log"
            try:
                for number in range(self._durable + 1, version + 1):
                    if (log / f"{number:020}.json").exists():
                        sync_entry(log, number, again=self._sync_again)
                    self._durable = number
                self._sync_again = False
            except OSError as error:
                self._sync_again = True
                raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error
            return version

    @property
    def journals(self) -> dict[str, str]:
        """The journals that the table's properties name: by id, the place where each was last."""
        with self._lock:
            found = self._table.metadata().configuration
        return {name.removeprefix(JOURNAL_KEY): place for name, place in found.items() if name.startswith(JOURNAL_KEY)}

    def name_journal(self, journal: str, place: str) -> None:
        """Record a journal of the table, and its place, in the table's properties."""
        with self._lock, self._failing("write to"):
            self.refresh()
            self._check_term()
            self._table.alter.set_table_properties(
                {f"{JOURNAL_KEY}{journal}": place},
                raise_if_not_exists=False,
                commit_properties=self._properties({}),
                post_commithook_properties=NO_HOOKS,
            )
            self.refresh()

    # Maintenance

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the last one, `noted`."""
        with self._lock:
            if self.term:
                self.refresh()
            self._check_term()
            version = self.sync_log()
            if version - (noted or 0) < COMMITS_A_CHECKPOINT:
                return None
            with self._failing("write to"):
                self._table.create_checkpoint()
                if self._folder:
                    sync_checkpoint(self._folder / "_delta_log", version)
            return version

    def tidy(self) -> None:
        """Delete unused files."""
        if self.term:
            self.refresh()
        self._check_term()
        with self._failing("tidy"):
            if self._unused is None:
                if (now := time.monotonic()) - self._vacuumed > VACUUM_SECONDS:
                    self._vacuumed, marks = now, self._properties({})
                    self._table.vacuum(
                        VACUUM_HOURS, dry_run=False, commit_properties=marks, post_commithook_properties=NO_HOOKS
                    )
                    self.refresh()
            else:
                self._unused.delete(self._used, self.grace)
            with self._lock:
                self._table.cleanup_metadata()

    def _used(self) -> set[str]:
        """Return the files that are being written, or that a snapshot has which somebody holds."""
        with self._lock:
            return self._writing.union(*(snapshot.paths for snapshot in self._snapshots))

    @contextmanager
    def _failing(self, what: str) -> Generator[None, None, None]:
        """Turn the errors of deltalake, Polars and the system into one that says what can't be done with the table."""
        try:
            yield
        except FAILURES as error:
            raise UnreachableError(f"cannot {what} the table {self._root}: {one_line(error)}") from error
