from collections.abc import Mapping
from typing import Final, Self

from mockexport.stats.contract import Ranges
from mockexport.stats.result import Pair, Stats
from mockexport.tally import AllColumns

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

class NativeStats:
    """The native statistics; the contract is `mockexport.stats.contract.StatsAccumulator`, with any buffer for bytes.

    `instructions`, `seed` and the limits of `max_row_bytes` and `max_pairs` are those of the native tally. Raises
    RuntimeError when two threads use one of these at the same time.
    """

    def __new__(
        cls,
        *,
        columns: AllColumns,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = ...,
        max_pairs: int = ...,
        delimiter: bytes = ...,
        instructions: str | None = None,
        seed: bytes = ...,
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def finish(self) -> Stats: ...

class NativeTimes:
    """The native reader of times, with any buffer for bytes; the contract is `mockexport.stats.contract.Times`.

    The other arguments, and the RuntimeError, are those of `NativeStats`. Raises OverflowError for a number of more
    than 32 bits.
    """

    def __new__(
        cls,
        *,
        columns: AllColumns,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = ...,
        delimiter: bytes = ...,
        instructions: str | None = None,
        seed: bytes = ...,
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def finish(self) -> None: ...
    def take_records(self) -> bytes: ...
