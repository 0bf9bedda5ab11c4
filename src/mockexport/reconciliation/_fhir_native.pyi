from typing import Final, Self

from mockexport.reconciliation.contract import RecordFacts

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

def record_key(key: bytes, data: bytes, /) -> bytes:
    """Hash some bytes with the key of a run; the contract is `mockexport.reconciliation.contract.RecordKey`."""

class NativeResourceKeys:
    """The native keys of FHIR resources, with any buffer for bytes.

    The contract is `mockexport.reconciliation.contract.ResourceKeys`. Raises RuntimeError when two threads use one of
    these at the same time.
    """

    def __new__(
        cls,
        *,
        key: bytes,
        download: int = 0,
        begin: int | None = None,
        end: int | None = None,
        ids: bool = False,
        max_row_bytes: int = ...,
        base: str | None = None,
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
