from collections.abc import Mapping
from typing import Final, Self

from mockexport.stats.contract import Ranges
from mockexport.stats.result import Pair, Stats

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

class NativeResourceStats:
    """The native statistics of FHIR, with any buffer for bytes.

    The contract is `mockexport.stats.contract.ResourceStatsAccumulator`. `instructions`, `seed` and the limits of
    `max_row_bytes` and `max_pairs` are those of the native tally. Raises RuntimeError when two threads use one of these
    at the same time.
    """

    def __new__(
        cls,
        *,
        ranges: Ranges,
        now: int,
        skip: bool = False,
        max_row_bytes: int = ...,
        max_pairs: int = ...,
        strict: bool = False,
        base: str | None = None,
        instructions: str | None = None,
        seed: bytes = ...,
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def finish(self) -> Stats: ...

class NativeResourceTimes:
    """The native reader of times in FHIR, with any buffer for bytes.

    The contract is `mockexport.stats.contract.ResourceTimes`. The other arguments, and the RuntimeError, are those of
    `NativeResourceStats`. Raises OverflowError for a number of more than 32 bits.
    """

    def __new__(
        cls,
        *,
        numbers: Mapping[Pair, int],
        skip: bool = False,
        max_row_bytes: int = ...,
        strict: bool = False,
        base: str | None = None,
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
