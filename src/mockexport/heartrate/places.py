"""Where a table and its journal lie, and whether the two belong together.

What has been acknowledged may be in the journal alone, so a table without its journal has lost readings. The two know
each other by the journal's id, a random one: a data folder's marker names it. A journal of another id, or none where
one is named, is refused. A table under a URL may be written by several servers: its properties name their journals, and
one more is only added when the user says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.errors import MockExportError, Remedy, UntrustedDataError, UsageError
from mockexport.heartrate.folder import JOURNAL, Marker, claim_folder, read_marker
from mockexport.heartrate.journal import Kept, read_id, read_journal

if TYPE_CHECKING:
    from mockexport.heartrate.folder import Lock
    from mockexport.heartrate.table import Store

__all__ = ["Places", "is_url"]

TABLE = "table"


def is_url(data: str | Path) -> bool:
    """Tell a URL from a folder."""
    return "://" in str(data)


class Places:
    """The table and the journal of `data`, a folder or the URL of a table.

    `journal` is the folder of the journal where that is not `data`. Raises UsageError for a URL without one.
    """

    def __init__(self, data: str | Path, journal: Path | None) -> None:
        self.data = None if is_url(data) else Path(data)
        self.table = str(data) if self.data is None else str((self.data / TABLE).absolute())
        if self.data is None and journal is None:
            raise UsageError(f"{data} needs a local folder for its journal; name one")
        apart = journal if self.data is None or (journal and journal.resolve() != self.data.resolve()) else None
        self._apart = apart
        self.journal_folder = apart or Path(data)
        self._name = str(data)
        self._writes = False

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.journal_folder / JOURNAL

    # To write

    def claim(self, locks: list[Lock], *, replace_journal: bool) -> None:
        """Lock the folders, made and marked where they are new, and add the locks to `locks`.

        Raises UsageError where one is in use, or where the journal isn't the one that belongs to the data; that is seen
        before the journal's folder is made. With `replace_journal` any journal will do.
        """
        self._writes = True
        if self.data:
            locks.append(claim_folder(self.data, TABLE))
            marker = read_marker(self.data)
            if marker.table != TABLE:
                raise UsageError(f"{self.data} is the journal of the table {marker.table}; choose another folder")
            if not replace_journal:
                self._check_named(self.data, marker)
        if self._apart:
            locks.append(claim_folder(self._apart, self.table))
            self._check_owner(self._apart)

    def _check_named(self, data: Path, marker: Marker) -> None:
        found = read_id(self.journal)
        if marker.journal is None:
            if found is None and _has_files(self.table):
                raise self._refusal(f"{self.journal_folder} holds no journal", marker)
            if self._apart and (own := read_journal(data / JOURNAL)) and own.entries:
                raise UsageError(
                    f"{data} holds a journal with readings, beside the one in {self._apart}: "
                    "serve it with that journal, or move that file away if what it alone holds may be lost"
                )
        elif found is None:
            raise self._refusal(f"{self.journal_folder} holds no journal", marker)
        elif found != marker.journal:
            raise self._refusal(f"the journal in {self.journal_folder} is of other data", marker)

    def _refusal(self, found: str, marker: Marker, kind: type[MockExportError] = UsageError) -> MockExportError:
        where = marker.journal_folder or (self._name if marker.journal else None)
        place = f"was last in {where}: name that folder" if where else "is elsewhere: name its folder"
        return kind(f"{found}, and that of {self._name} {place} as the journal", remedy=Remedy.REPLACE_JOURNAL)

    def _check_owner(self, folder: Path) -> None:
        """Raise UsageError where a journal's folder is another table's; data that was moved is still its own."""
        other = read_marker(folder).table
        if other == self.table:
            return
        named = read_marker(self.data).journal if self.data else None
        if named is None or named != read_id(self.journal) or _names(other, named):
            raise UsageError(
                f"the journal in {folder} belongs to the table {other}; choose another folder for {self.table}"
            )

    def name(self, store: Store, journal: str) -> None:
        """Note which journal belongs to the data, and where the two are now. Do so before it keeps anything."""
        apart = str(self._apart.absolute()) if self._apart else None
        if self.data:
            _mark(self.data, Marker(TABLE, journal, apart))
        elif apart and store.journals.get(journal) != apart:
            store.name_journal(journal, apart)
        if self._apart:
            _mark(self._apart, Marker(self.table))

    # To read

    def find_journal(self) -> None:
        """Find the journal that belongs to the data, for a reader.

        Raises UntrustedDataError where it is not there: without it readings would be missing.
        """
        if self.data:
            marker = read_marker(self.data)
            if marker.table != TABLE:
                raise UsageError(f"{self.data} is the journal of the table {marker.table}; name the folder of its data")
            if self._apart is None and marker.journal_folder:
                self.journal_folder = Path(marker.journal_folder)
        self.read_journal()

    def read_journal(self) -> Kept:
        """Return what the journal that belongs to the data holds. Raises UntrustedDataError where it is not there."""
        named = read_marker(self.data).journal if self.data else None
        kept = read_journal(self.journal)
        if kept is None and named is None and not _has_files(self.table):
            return Kept("", 0, [])  # it is just being made
        if kept is None or named not in (None, kept.id):
            raise UntrustedDataError(
                f"{self.journal_folder} does not hold the journal of {self._name}, whose readings would be missing: "
                "put it back, or start the server once with the folder where it is now as the journal"
            )
        return kept

    # Both

    def check_table(self, store: Store, journal: str, released: int, *, replace_journal: bool = False) -> None:
        """See that a table is the one that a journal's readings went to, up to the batch `released`.

        Raises UntrustedDataError, or UsageError to who writes, where it isn't; `replace_journal` allows for a new one.
        """
        has = store.position(journal)
        if (has or 0) < released:
            raise UntrustedDataError(
                f"the table {self.table} lacks readings that the journal in {self.journal_folder} gave it: "
                "one of the two is a copy, or was put back; use the two that belong together"
            )
        if replace_journal:
            return
        marker = read_marker(self.data) if self.data else None
        named = {marker.journal: ""} if marker and marker.journal else store.journals
        if journal not in named if named else has is None and store.snapshot().days:
            marker = marker or Marker(self.table, *next(iter(named.items()), ()))
            kind = UsageError if self._writes else UntrustedDataError
            raise self._refusal(f"the journal in {self.journal_folder} is of other data", marker, kind)


def _mark(folder: Path, marker: Marker) -> None:
    if read_marker(folder) != marker:
        marker.write(folder)


def _has_files(table: str) -> bool:
    return next(Path(table).glob("date=*/*.parquet"), None) is not None


def _names(table: str, journal: str) -> bool:
    """Tell whether there is a table whose data names a journal."""
    if is_url(table):
        return True
    try:
        return read_marker(Path(table).parent).journal == journal
    except MockExportError:
        return False
