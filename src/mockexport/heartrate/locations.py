"""Where a table and its journal are stored, and whether the two belong together.

Acknowledged readings may be only in the journal, so a table without its journal has lost readings. The journal has a
random id, which the marker of the data folder names. A journal with another id is refused, and so is a missing one. A
table under a URL may be written by several servers: its properties name their journals, and another one is added only
if the user requests it. A journal in PostgreSQL is shared: the servers that use it share the data, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mockexport.errors import MockExportError, Remedy, UntrustedDataError, UsageError
from mockexport.heartrate.folder import JOURNAL, Marker, claim_folder, is_heart_rate_folder, is_url, read_marker
from mockexport.heartrate.journal import (
    JournalContents,
    SqliteJournal,
    is_postgres_url,
    lacks,
    open_postgres_journal,
    read_id,
    read_journal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.heartrate.journal import CommitLevel, Journal, OnCommit
    from mockexport.heartrate.table import Store

__all__ = ["Locations"]

TABLE = "table"
PARAMETERS = re.compile(r"(host|hostaddr|port|dbname|user|password|service)\s*=.*\s(host|dbname|user|service)\s*=")


class Locations:
    """The table and the journal of `data`, a folder or the URL of a table.

    `journal` is the folder of the journal if it is not in `data`, or the URL of a database. Raises UsageError for the
    URL of a table without one.
    """

    def __init__(self, data: str | Path, journal: Path | str | None) -> None:
        self.data = None if is_url(data) else Path(data)
        self.table = str(data) if self.data is None else str((self.data / TABLE).absolute())
        self._name = str(data)
        self._writes = self._replace = False
        self._shared = str(journal) if journal and (is_url(journal) or is_postgres_url(journal)) else None
        self._apart = None
        if self._shared:
            if not is_postgres_url(self._shared):
                scheme = self._shared.partition("://")[0]
                raise UsageError(f"a journal is a folder or postgresql://host/database, not {scheme}://")
            return
        if journal and PARAMETERS.match(str(journal)):  # they may have a password
            raise UsageError("a journal is a folder or postgresql://host/database, not a list of parameters of libpq")
        if self.data is None and journal is None:
            raise UsageError(f"the table {data} needs a local folder for its journal, or a PostgreSQL database")
        folder = None if journal is None else Path(journal)
        self._apart = folder if self.data is None or (folder and folder.resolve() != self.data.resolve()) else None
        self.journal_folder = self._apart or Path(data)

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.journal_folder / JOURNAL

    # For the writer

    def claim(self, locks: list[IO[bytes]], *, replace_journal: bool) -> None:
        """Lock the folders, make and mark them if they are new, and add the locks to `locks`.

        Raises UsageError if one is in use, or the journal belongs to other data; that is checked before the journal's
        folder is made. With `replace_journal` any journal is accepted. A new folder of several servers is marked once
        its journal is open.
        """
        self._writes, self._replace = True, replace_journal
        if self.data:
            locks.append(claim_folder(self.data, TABLE, shared=self._shared is not None))
            is_new = self._shared and not is_heart_rate_folder(self.data)
            marker = Marker(TABLE) if is_new else read_marker(self.data)
            if marker.table != TABLE:
                raise UsageError(f"{self.data} is the journal of the table {marker.table}; choose another folder")
            if replace_journal:
                self._check_replaced(self.data, marker)
            else:
                self._check_named(self.data, marker)
        if self._apart:
            locks.append(claim_folder(self._apart, self.table))
            self._check_owner(self._apart)

    def open_journal(self, on_commit: OnCommit, commit: CommitLevel | None) -> Journal:
        """Open the journal. `commit` is for a database: the level of `synchronous_commit` to ask for.

        Raises UsageError if it belongs to other data. Of several servers that make the folder at the same time, one
        names its journal, and the others find that name.
        """
        if self._shared is None:
            return SqliteJournal(self.journal, on_commit)
        journal = open_postgres_journal(self._shared, on_commit, commit=commit)
        self._shared = journal.place  # without what is secret
        try:
            if self.data:
                self._check_shared(self.data, journal)
        except BaseException:
            journal.close()
            raise
        return journal

    def _check_shared(self, data: Path, journal: Journal) -> None:
        if not is_heart_rate_folder(data):
            Marker(TABLE, journal.id, journal.place).write_new(data)
        marker = read_marker(data)
        if marker.journal not in (None, journal.id) and not self._replace:
            raise self._refusal(f"the journal {journal.place} belongs to other data", marker)

    def _check_named(self, data: Path, marker: Marker) -> None:
        found = None if self._shared else read_id(self.journal)
        if marker.journal is None:
            if not self._shared and found is None and _has_files(self.table):
                raise self._refusal(f"there is no journal in {self.journal_folder}", marker)
            elsewhere = "a database" if self._shared else self._apart
            if elsewhere and (own := read_journal(data / JOURNAL)) and own.entries:
                raise UsageError(
                    f"{data} has a journal with readings as well as {elsewhere}: "
                    "serve it with its own journal, or move that file away if its readings are not needed"
                )
        elif self._shared:
            pass  # its id is not known before it is open
        elif found is None:
            raise self._refusal(f"there is no journal in {self.journal_folder}", marker)
        elif found != marker.journal:
            raise self._refusal(f"the journal in {self.journal_folder} belongs to other data", marker)

    def _check_replaced(self, data: Path, marker: Marker) -> None:
        """Raise UsageError if the journal that is replaced is still there, with readings that the table lacks."""
        place = marker.journal_folder or data
        if is_url(place):
            return
        old = Path(place) / JOURNAL
        if not self._shared and old.resolve() == self.journal.resolve():
            return  # it is opened, with its readings
        try:
            kept = read_journal(old)
        except MockExportError:  # damaged, say: it is replaced because it can't be read
            return
        if kept and kept.id == marker.journal and kept.entries:
            raise UsageError(
                f"the journal in {place} has readings that are not in the table yet: start and stop the server once "
                "with that journal, or move its file away if they are not needed"
            )

    def _refusal(self, found: str, marker: Marker, kind: type[MockExportError] = UsageError) -> MockExportError:
        where = marker.journal_folder or (self._name if marker.journal else None)
        if where and is_url(where):
            place = f"was last in the database {where}: name that URL"
        else:
            place = f"was last in {where}: name that folder" if where else "is elsewhere: name its folder"
        return kind(f"{found}, and that of {self._name} {place} as the journal", remedy=Remedy.REPLACE_JOURNAL)

    def _check_owner(self, folder: Path) -> None:
        """Raise UsageError if the journal's folder belongs to another table, unless the data was moved."""
        other = read_marker(folder).table
        if other == self.table:
            return
        named = read_marker(self.data).journal if self.data else None
        if named is None or named != read_id(self.journal) or _names(other, named):
            raise UsageError(
                f"the journal in {folder} belongs to the table {other}; choose another folder for {self.table}"
            )

    def name(self, store: Store, journal: Journal) -> None:
        """Record which journal belongs to the data, and where it is now. Call it before the table is written."""
        place = self._shared or (str(self._apart.absolute()) if self._apart else None)
        if self.data:
            _mark(self.data, Marker(TABLE, journal.id, place))
        elif place and store.journals.get(journal.id) != place:
            store.name_journal(journal.id, place)
        if self._apart:
            _mark(self._apart, Marker(self.table))

    # For readers

    def find_journal(self) -> None:
        """Find the journal that belongs to the data, for a reader.

        Raises UntrustedDataError if it is missing: without it, readings would be missing.
        """
        if self.data:
            marker = read_marker(self.data)
            if marker.table != TABLE:
                raise UsageError(f"{self.data} is the journal of the table {marker.table}; name the folder of its data")
            if marker.journal_folder and is_url(marker.journal_folder):
                raise UsageError(
                    f"readings of {self._name} are in the journal {marker.journal_folder}, too: "
                    "name the URL of a server that uses it as the source, not the folder"
                )
            if self._apart is None and marker.journal_folder:
                self.journal_folder = Path(marker.journal_folder)
        self.read_journal()

    def read_journal(self) -> JournalContents:
        """Return the contents of the journal that belongs to the data. Raises UntrustedDataError if it is missing."""
        named = read_marker(self.data).journal if self.data else None
        kept = read_journal(self.journal)
        if kept is None and named is None and not _has_files(self.table):
            return JournalContents("", 0, [])  # a server is just creating it
        if kept is None or named not in (None, kept.id):
            raise UntrustedDataError(
                f"the journal of {self._name} is not in {self.journal_folder}, so its readings would be missing: "
                "restore it, or start the server once with the folder where it is now as the journal"
            )
        return kept

    # For both

    def check_table(self, store: Store, journal: str, released: Mapping[str, int]) -> None:
        """Check that the table has the readings of the journal, up to the positions `released`.

        Raises UntrustedDataError if they are missing. If the table names other journals, that is a UsageError for the
        writer, unless it replaces the journal, and an UntrustedDataError for readers.
        """
        has = store.positions(released)
        this = f"the journal {self._shared}" if self._shared else f"the journal in {self.journal_folder}"
        if lacks(has, released):
            raise UntrustedDataError(
                f"the table {self.table} lacks readings that {this} moved to it: "
                "one of the two is an old copy; use the two that belong together"
            )
        if self._replace:
            return
        marker = read_marker(self.data) if self.data else None
        named = {marker.journal: ""} if marker and marker.journal else store.journals
        if journal not in named if named else not has and store.snapshot().days:
            marker = marker or Marker(self.table, *next(iter(named.items()), ()))
            kind = UsageError if self._writes else UntrustedDataError
            raise self._refusal(f"{this} belongs to other data", marker, kind)


def _mark(folder: Path, marker: Marker) -> None:
    if read_marker(folder) != marker:
        marker.write(folder)


def _has_files(table: str) -> bool:
    return next(Path(table).glob("date=*/*.parquet"), None) is not None


def _names(table: str, journal: str) -> bool:
    """Return whether the folder of a table names a journal; a URL is assumed to."""
    if is_url(table):
        return True
    try:
        return read_marker(Path(table).parent).journal == journal
    except MockExportError:
        return False
