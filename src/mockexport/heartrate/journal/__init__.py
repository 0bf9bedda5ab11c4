"""Where acknowledged readings are on disk before they are in the table."""

from mockexport.heartrate.journal.journal import Journal, JournalError, JournalFullError, SqliteJournal
from mockexport.heartrate.journal.sqlite import Entry, JournalContents, read_id, read_journal

__all__ = [
    "Entry",
    "Journal",
    "JournalContents",
    "JournalError",
    "JournalFullError",
    "SqliteJournal",
    "read_id",
    "read_journal",
]
