"""The Delta Lake table of readings: storage, pending readings, queries and maintenance."""

from mockexport.heartrate.table.contract import Store
from mockexport.heartrate.table.files import FileFormat, read_compression
from mockexport.heartrate.table.maintenance import compact, drop_old_days, flush, tidy
from mockexport.heartrate.table.pending import SEQUENCES_A_BATCH, Pending
from mockexport.heartrate.table.queries import days_in, points, rows_of, summarise_day
from mockexport.heartrate.table.schema import Snapshot
from mockexport.heartrate.table.store import DeltaStore

__all__ = [
    "SEQUENCES_A_BATCH",
    "DeltaStore",
    "FileFormat",
    "Pending",
    "Snapshot",
    "Store",
    "compact",
    "days_in",
    "drop_old_days",
    "flush",
    "points",
    "read_compression",
    "rows_of",
    "summarise_day",
    "tidy",
]
