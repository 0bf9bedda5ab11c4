"""What makes an export complete: keys that tell records apart, and findings made of what was declared and found.

No input and output here. The accumulators are those of one `contract`; the rows are those of the tally.
"""

from mockexport.reconciliation.contract import (
    FIRST_PLACES,
    KEY_BYTES,
    NO_LINES,
    RECORD_BYTES,
    CsvRecordKeys,
    Lines,
    RecordFacts,
    RecordKey,
    RecordKeys,
    ResourceKeys,
)

__all__ = [
    "FIRST_PLACES",
    "KEY_BYTES",
    "NO_LINES",
    "RECORD_BYTES",
    "CsvRecordKeys",
    "Lines",
    "RecordFacts",
    "RecordKey",
    "RecordKeys",
    "ResourceKeys",
]
