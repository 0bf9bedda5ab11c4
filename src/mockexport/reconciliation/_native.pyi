from typing import Final, Self

from mockexport.reconciliation.contract import RecordFacts
from mockexport.tally import Columns

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

def record_key(key: bytes, data: bytes, /) -> bytes:
    """Hash some bytes; the contract is `mockexport.reconciliation.contract.RecordKey`."""

class NativeCsvKeys:
    """The native keys of CSV; the contract is `mockexport.reconciliation.contract.CsvRecordKeys`.

    `instructions` and the limits of `max_row_bytes` are those of the native tally. Raises RuntimeError when two threads
    use one of these at the same time.
    """

    def __new__(
        cls,
        *,
        key: bytes,
        download: int = ...,
        begin: int | None = None,
        end: int | None = None,
        columns: Columns = ...,
        delimiter: bytes = ...,
        max_row_bytes: int = ...,
        instructions: str | None = None,
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def finish(self) -> RecordFacts: ...
    def take_records(self) -> bytes: ...
    def take_ids(self) -> bytes: ...
