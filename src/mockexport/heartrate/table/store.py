"""The store: a Delta Lake table of Parquet files, partitioned by UTC date, in a folder or under a URL.

A commit adds complete files that are on disk already. In a folder it counts once its log entry is on disk, too; this
module fsyncs it, because deltalake does not.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake._internal import DeltaFileSystemHandler  # the public one needs pyarrow
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.files import make_folder, sync_folder
from mockexport.heartrate.folder import OWNER_ONLY, is_url
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
from mockexport.settings import store_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.heartrate.table.schema import File, Snapshot

__all__ = ["DeltaStore", "Store"]

COMMITS_A_CHECKPOINT = 50
GRACE_SECONDS = 600.0  # replaced files stay this long, for other programs that read the table
VACUUM_SECONDS = 600.0
VACUUM_HOURS = 1  # GRACE_SECONDS for tables under a URL
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)  # they don't fsync
PART, THROUGH = ".part", ".through"  # suffixes of a journal's id, in the table's application transactions
FAILURES = (DeltaError, OSError, pl.exceptions.PolarsError)


class Store(Protocol):
    """A table of readings, which other programs may read. Thread-safe.

    Raises UnreachableError if it can't be written or read. After a failed write, `position` says what the table has.
    """

    def snapshot(self) -> Snapshot:
        """Return the newest version."""

    def refresh(self) -> None:
        """Load the versions that other processes have written."""

    def scan(self, files: Sequence[File]) -> pl.LazyFrame:
        """Return the readings in these files, at least one, with the columns of `merge.SCHEMA`."""

    def position(self, journal: str) -> int | None:
        """Return the last batch of this journal up to which the table has everything; None if it has none."""

    def flush_progress(self, journal: str) -> FlushProgress | None:
        """Return the last partial `append` of this journal, even if it has been completed; None if there was none."""

    @property
    def journals(self) -> dict[str, str]:
        """The journals that the table names: by id, the folder where each was last."""

    def name_journal(self, journal: str, folder: str) -> None:
        """Record a journal of the table, and its folder, in the table."""

    def sync_log(self) -> int:
        """Make sure that the newest version is on disk; return it."""

    def append(
        self, runs: Iterable[tuple[date, pl.DataFrame]], journal: str, position: int, through: date | None = None
    ) -> int:
        """Add a run for each date, sorted by user, time and device; return the version, which is on disk.

        The same commit records `position` as that of the journal; with `through`, only for the days up to that one.
        """

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Replace files of a day by one run; return the version, which is on disk."""

    def remove(self, old: Sequence[File]) -> int:
        """Remove files; return the version, which is on disk."""

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the last one, `noted`; return its version."""

    def tidy(self) -> None:
        """Delete unused files; call it once the newest version and checkpoint have been recorded."""


class DeltaStore:
    """A store that uses deltalake and Polars. The table is created if there is none.

    `durable` and `checkpoint` are the versions that were last recorded; a new table under a URL names the journal with
    the id `journal`. `grace` is how long replaced files stay, in seconds; `files` is how files are written. Raises
    UsageError for a table of another format, UnreachableError if it can't be opened or created, and UntrustedDataError
    if it has lost versions.
    """

    def __init__(
        self,
        table: str | Path,
        *,
        durable: int | None = None,
        checkpoint: int | None = None,
        journal: str | None = None,
        read_only: bool = False,
        grace: float = GRACE_SECONDS,
        files: FileFormat | None = None,
    ) -> None:
        self._root = str(table).rstrip("/") if is_url(table) else str(Path(table).absolute())
        self._folder = None if is_url(table) else Path(self._root)
        self._options = None if self._folder else store_options()
        self._grace, self._files = grace, files or FileFormat()
        self._lock = threading.RLock()
        self._writing: set[str] = set()
        self._unused_since: dict[str, float] = {}
        self._snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()
        self._sync_again = False  # an fsync has failed
        self._vacuumed = time.monotonic()
        try:
            if self._folder and not read_only:
                for folder in (self._folder, self._folder / "_delta_log"):
                    make_folder(folder, OWNER_ONLY)
                drop_torn(self._folder, durable, checkpoint)
            self._table = self._open(journal, read_only=read_only)
        except FAILURES as error:
            raise UnreachableError(f"cannot open the table {self._root}: {one_line(error)}") from error
        self._check(durable)
        self._durable = -1 if durable is None else durable
        self._current = self._load()
        if not read_only:
            self.sync_log()

    def _open(self, journal: str | None, *, read_only: bool) -> DeltaTable:
        try:
            return DeltaTable(self._root, storage_options=self._options)
        except TableNotFoundError:
            if read_only:
                raise
        return DeltaTable.create(
            self._root,
            TABLE_SCHEMA,
            mode="ignore",
            partition_by=["date"],
            configuration=CONFIGURATION | ({f"{JOURNAL_KEY}{journal}": ""} if journal and not self._folder else {}),
            storage_options=self._options,
            raise_if_key_not_exists=False,
        )

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
        with self._lock:
            try:
                self._table.update_incremental()
                if self._table.version() != self._current.version:
                    self._current = self._load()
            except FAILURES as error:
                raise UnreachableError(f"cannot read the table {self._root}: {one_line(error)}") from error

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

    def position(self, journal: str) -> int | None:
        """Return the last batch of this journal up to which the table has everything; None if it has none."""
        with self._lock:
            return self._table.transaction_version(journal)

    def flush_progress(self, journal: str) -> FlushProgress | None:
        """Return the last partial `append` of this journal."""
        with self._lock:
            position = self._table.transaction_version(f"{journal}{PART}")
            through = self._table.transaction_version(f"{journal}{THROUGH}")
        return None if position is None or through is None else FlushProgress(position, date.fromordinal(through))

    # Writing

    def append(
        self, runs: Iterable[tuple[date, pl.DataFrame]], journal: str, position: int, through: date | None = None
    ) -> int:
        """Add a run for each date, as `Store.append` describes."""
        name = uuid.uuid4().hex
        positions = {journal: position}
        if through:
            positions = {f"{journal}{PART}": position, f"{journal}{THROUGH}": through.toordinal()}
        mark = CommitProperties(app_transactions=[Transaction(*position) for position in positions.items()])
        new = ((day, f"{name}-{n}", part) for day, run in runs for n, part in enumerate(self._files.sized([run])))
        return self._commit([], new, mark, data_change=True)

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Replace files of a day by one run."""
        name = uuid.uuid4().hex
        new = ((day, f"{name}-{number}", frame) for number, frame in enumerate(self._files.sized(frames)))
        return self._commit(old, new, None, data_change=False)

    def remove(self, old: Sequence[File]) -> int:
        """Remove files."""
        return self._commit(old, [], None, data_change=True)

    def _commit(
        self,
        old: Sequence[File],
        new: Iterable[tuple[date, str, pl.DataFrame]],
        mark: CommitProperties | None,
        *,
        data_change: bool,
    ) -> int:
        """Write the new files, then commit them and the removal of the old ones; lock only for the commit."""
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
                self.sync_log()
                self._table.create_write_transaction(
                    actions,
                    "append",
                    TABLE_SCHEMA,
                    ["date"],
                    commit_properties=mark,
                    post_commithook_properties=NO_HOOKS,
                )
                self.refresh()
                if not self._current.holds(written):
                    raise OSError("the committed files are not in the newest version")
                return self.sync_log()
        except FAILURES as error:
            raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error
        finally:
            self._writing.difference_update(written)  # uncommitted files are deleted later

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
        """The journals that the table's properties name: by id, the folder where each was last."""
        with self._lock:
            found = self._table.metadata().configuration
        return {
            name.removeprefix(JOURNAL_KEY): folder for name, folder in found.items() if name.startswith(JOURNAL_KEY)
        }

    def name_journal(self, journal: str, folder: str) -> None:
        """Record a journal of the table, and its folder, in the table's properties."""
        try:
            with self._lock:
                self._table.alter.set_table_properties(
                    {f"{JOURNAL_KEY}{journal}": folder},
                    raise_if_not_exists=False,
                    post_commithook_properties=NO_HOOKS,
                )
                self.refresh()
        except FAILURES as error:
            raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error

    # Maintenance

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the last one, `noted`."""
        with self._lock:
            version = self.sync_log()
            if version - (noted or 0) < COMMITS_A_CHECKPOINT:
                return None
            try:
                self._table.create_checkpoint()
                if self._folder:
                    sync_checkpoint(self._folder / "_delta_log", version)
            except FAILURES as error:
                raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error
            return version

    def tidy(self) -> None:
        """Delete unused files."""
        try:
            if self._folder is None:
                if time.monotonic() - self._vacuumed > VACUUM_SECONDS:
                    self._vacuumed = time.monotonic()
                    self._table.vacuum(VACUUM_HOURS, dry_run=False, post_commithook_properties=NO_HOOKS)
                    self.refresh()
            else:
                self._delete_unused(self._folder)
            with self._lock:
                self._table.cleanup_metadata()
        except FAILURES as error:
            raise UnreachableError(f"cannot tidy the table {self._root}: {one_line(error)}") from error

    def _delete_unused(self, folder: Path) -> None:
        """Delete the files that no snapshot has had for the time of grace."""
        found = {path.relative_to(folder).as_posix(): path for path in folder.glob("date=*/*.parquet")}
        with self._lock:  # each file found is being written, in this version, or unused
            used = self._writing.union(*(snapshot.paths for snapshot in self._snapshots))
        now = time.monotonic()
        self._unused_since = {name: self._unused_since.get(name, now) for name in found if name not in used}
        for name, since in list(self._unused_since.items()):
            if now - since >= self._grace:
                found[name].unlink(missing_ok=True)
                del self._unused_since[name]


def one_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
