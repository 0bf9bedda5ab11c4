"""The store: a Delta Lake table of Parquet files, partitioned by UTC date, in a folder or under a URL.

A commit adds whole files that are on disk already. In a folder it counts once its log entry is on disk too; that
comes from here, because deltalake leaves it to the system.
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
from deltalake._internal import DeltaFileSystemHandler  # the public one wants pyarrow
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.files import sync_folder
from mockexport.heartrate.folder import make_folder
from mockexport.heartrate.places import is_url
from mockexport.heartrate.table.log import drop_torn, sync_checkpoint, sync_entry, sync_file
from mockexport.heartrate.table.merge import SCHEMA
from mockexport.heartrate.table.schema import (
    CONFIGURATION,
    FORMAT,
    FORMAT_KEY,
    JOURNAL_KEY,
    TABLE_SCHEMA,
    Part,
    snapshot_of,
    statistics_of,
)
from mockexport.settings import store_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mockexport.heartrate.table.schema import File, Snapshot

__all__ = ["DeltaStore", "Store"]

ROWS_A_GROUP = 1 << 15  # of a Parquet file: the least that a query reads
COMPRESSION_LEVEL = 1
COMMITS_A_CHECKPOINT = 50
GRACE_SECONDS = 600.0  # a file that was replaced stays as long, for other programs that are reading the table
VACUUM_SECONDS = 600.0
VACUUM_HOURS = 1  # what GRACE_SECONDS is under a URL
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)  # they fsync nothing
PART, THROUGH = ".part", ".through"  # of a journal, in the table's marks
FAILURES = (DeltaError, OSError, pl.exceptions.PolarsError)


class Store(Protocol):
    """A table of readings that other programs may read. Safe to use from any thread.

    Raises UnreachableError when it can't be written or read. After a failed write `position` tells what the table has.
    """

    def snapshot(self) -> Snapshot:
        """Return the newest version."""

    def refresh(self) -> None:
        """Look for what other processes have written."""

    def scan(self, files: Sequence[File]) -> pl.LazyFrame:
        """Return the readings in these files, of which there must be one, with the columns of `merge.SCHEMA`."""

    def position(self, journal: str) -> int | None:
        """Return up to which batch of this journal the table has everything."""

    def part(self, journal: str) -> Part | None:
        """Return what `append` was told last of a part, which may be past; None when it never was."""

    @property
    def journals(self) -> dict[str, str]:
        """The journals that the table itself names: by id, the folder where each was last."""

    def name_journal(self, journal: str, folder: str) -> None:
        """Name a journal whose readings go to the table, in the table."""

    def settle(self) -> int:
        """See that the newest version is on disk; return it."""

    def append(
        self, runs: Iterable[tuple[date, pl.DataFrame]], journal: str, position: int, through: date | None = None
    ) -> int:
        """Add a run a date, each sorted by user, time and device; return the version, which is on disk.

        With them `position` becomes the journal's; or, with `through`, they are the part of it up to that day.
        """

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Put one run in the place of files of one day; return the version, which is on disk."""

    def remove(self, old: Sequence[File]) -> int:
        """Take files away; return the version, which is on disk."""

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the one `noted`; return its version."""

    def tidy(self) -> None:
        """Delete what no version needs any more; call it once the newest version and checkpoint have been noted."""


class DeltaStore:
    """A store by deltalake and Polars; made when there is none.

    `durable` and `checkpoint` are the versions that were noted last; a new table under a URL is made for the journal of
    the id `journal`. Raises UsageError for a table of another format,
    UnreachableError where none can be opened or made, UntrustedDataError for one that has lost versions.
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
    ) -> None:
        self._root = str(table).rstrip("/") if is_url(table) else str(Path(table).absolute())
        self._folder = None if is_url(table) else Path(self._root)
        self._options = None if self._folder else store_options()
        self._grace = grace
        self._lock = threading.RLock()
        self._writing: set[str] = set()
        self._unused_since: dict[str, float] = {}
        self._snapshots: weakref.WeakSet[Snapshot] = weakref.WeakSet()
        self._anew = False  # an fsync has failed
        self._vacuumed = time.monotonic()
        try:
            if self._folder and not read_only:
                for folder in (self._folder, self._folder / "_delta_log"):
                    make_folder(folder)
                drop_torn(self._folder, durable, checkpoint)
            self._table = self._open(journal, read_only=read_only)
        except FAILURES as error:
            raise UnreachableError(f"cannot open the table {self._root}: {one_line(error)}") from error
        self._check(durable)
        self._durable = -1 if durable is None else durable
        self._current = self._look()
        if not read_only:
            self.settle()

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
                f"the table {self._root} is of format {found or 'unknown'}; this version reads {FORMAT}: "
                "choose another place, or open it with the version that wrote it"
            )
        if durable is not None and self._table.version() < durable:
            raise UntrustedDataError(
                f"the table {self._root} ends at version {self._table.version()}, but had {durable}: put back its log"
            )

    # Reading

    def snapshot(self) -> Snapshot:
        """Return the newest version."""
        with self._lock:
            return self._current

    def refresh(self) -> None:
        """Look for what other processes have written."""
        with self._lock:
            try:
                self._table.update_incremental()
                if self._table.version() != self._current.version:
                    self._current = self._look()
            except FAILURES as error:
                raise UnreachableError(f"cannot read the table {self._root}: {one_line(error)}") from error

    def _look(self) -> Snapshot:
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
        """Return up to which batch of this journal the table has everything."""
        with self._lock:
            return self._table.transaction_version(journal)

    def part(self, journal: str) -> Part | None:
        """Return what `append` was told last of a part."""
        with self._lock:
            position = self._table.transaction_version(f"{journal}{PART}")
            through = self._table.transaction_version(f"{journal}{THROUGH}")
        return None if position is None or through is None else Part(position, date.fromordinal(through))

    # Writing

    def append(
        self, runs: Iterable[tuple[date, pl.DataFrame]], journal: str, position: int, through: date | None = None
    ) -> int:
        """Add a run a date, as Store.append says."""
        name = uuid.uuid4().hex
        marks = {journal: position}
        if through:
            marks = {f"{journal}{PART}": position, f"{journal}{THROUGH}": through.toordinal()}
        mark = CommitProperties(app_transactions=[Transaction(*told) for told in marks.items()])
        return self._commit([], ((day, f"{name}-0", frame) for day, frame in runs), mark, data_change=True)

    def replace(self, old: Sequence[File], frames: Iterable[pl.DataFrame], day: date) -> int:
        """Put one run in the place of files of one day."""
        name = uuid.uuid4().hex
        new = ((day, f"{name}-{number}", frame) for number, frame in enumerate(frames))
        return self._commit(old, new, None, data_change=False)

    def remove(self, old: Sequence[File]) -> int:
        """Take files away."""
        return self._commit(old, [], None, data_change=True)

    def _commit(
        self,
        old: Sequence[File],
        new: Iterable[tuple[date, str, pl.DataFrame]],
        mark: CommitProperties | None,
        *,
        data_change: bool,
    ) -> int:
        """Write the new files, then commit them and the end of the old ones; the lock is held for the latter only."""
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
                sync_folder(self._folder)  # where the folders of the days are, by whomever they were made
            with self._lock:
                self.refresh()
                self.settle()
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
                    raise OSError("what was committed is not in the newest version")
                return self.settle()
        except FAILURES as error:
            raise UnreachableError(f"cannot write to the table {self._root}: {one_line(error)}") from error
        finally:
            self._writing.difference_update(written)  # what was not committed is tidied away later

    def _write(self, path: str, frame: pl.DataFrame) -> int:
        """Write one file, which is on disk when this returns; return its size."""
        if self._folder:
            target = self._folder / path
            target.parent.mkdir(mode=0o700, exist_ok=True)
            target.touch(mode=0o600)
        frame.write_parquet(
            f"{self._root}/{path}",
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            row_group_size=ROWS_A_GROUP,
            storage_options=self._options,
        )
        if self._folder:
            sync_file(target)
            sync_folder(target.parent)
            return target.stat().st_size
        # It could write the file too, but holds the interpreter for as long as that takes.
        return int(DeltaFileSystemHandler(self._root, self._options).open_input_file(path).size())

    def settle(self) -> int:
        """See that the log is on disk up to the newest version; return it."""
        with self._lock:
            version = self._current.version
            if self._folder is None:
                return version
            log = self._folder / "_delta_log"
            try:
                for number in range(self._durable + 1, version + 1):
                    if (log / f"{number:020}.json").exists():
                        sync_entry(log, number, anew=self._anew)
                    self._durable = number
                self._anew = False
            except OSError as error:
                self._anew = True
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
        """Name a journal whose readings go to the table among its properties."""
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

    # Upkeep

    def checkpoint(self, noted: int | None) -> int | None:
        """Write a checkpoint if there were many versions since the one `noted`."""
        with self._lock:
            version = self.settle()
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
        """Delete what no version needs any more."""
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
        """Delete the files that no snapshot holds, and none has held for the time of grace."""
        found = {path.relative_to(folder).as_posix(): path for path in folder.glob("date=*/*.parquet")}
        with self._lock:  # a file that is found is being written, or else is in this version or in none
            used = self._writing.union(*(snapshot.paths for snapshot in self._snapshots))
        now = time.monotonic()
        self._unused_since = {name: self._unused_since.get(name, now) for name in found if name not in used}
        for name, since in list(self._unused_since.items()):
            if now - since >= self._grace:
                found[name].unlink(missing_ok=True)
                del self._unused_since[name]


def one_line(error: Exception) -> str:
    """Return the first line of what went wrong."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
