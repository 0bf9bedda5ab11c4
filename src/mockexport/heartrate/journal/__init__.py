"""Where acknowledged readings are on disk before they are in the table."""

from mockexport.heartrate.journal.contract import Entry, Journal, JournalError, JournalFullError, OnCommit, Role, lacks
from mockexport.heartrate.journal.journal import SqliteJournal
from mockexport.heartrate.journal.postgres import CommitLevel, is_postgres_url, open_postgres_journal
from mockexport.heartrate.journal.sqlite import JournalContents, read_id, read_journal

__all__ = [
    "CommitLevel",
    "Entry",
    "Journal",
    "JournalContents",
    "JournalError",
    "JournalFullError",
    "OnCommit",
    "Role",
    "SqliteJournal",
    "is_postgres_url",
    "lacks",
    "open_postgres_journal",
    "read_id",
    "read_journal",
]
