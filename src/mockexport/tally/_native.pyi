from typing import Final, Self

from mockexport.model import Counts
from mockexport.tally.contract import Columns

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

class NativeTally:
    """The native tally; the contract is `mockexport.tally.contract.Tally`, with any buffer for bytes.

    `instructions` takes one of `INSTRUCTION_SETS` in place of the best one; `max_row_bytes` is 2^31 - 1 at the most,
    `max_pairs` 10^9. `seed`, 40 bytes, takes the place of the random one by which pairs are hashed; no answer depends
    on it. Raises RuntimeError when two threads use one tally at the same time.
    """

    def __new__(
        cls,
        *,
        skip: bool = False,
        max_row_bytes: int = ...,
        max_pairs: int = ...,
        columns: Columns = ...,
        delimiter: bytes = ...,
        instructions: str | None = None,
        seed: bytes = ...,
    ) -> Self: ...
    @property
    def rows(self) -> int: ...
    @property
    def between_rows(self) -> bool: ...
    def feed(self, chunk: bytes, /) -> None: ...
    def finish(self) -> Counts: ...
    def longest_probe(self) -> int:
        """Return how far a pair is from the place in the table that its hash chooses, at the most.

        It takes one look more to find it. Whatever the pairs are, it is at most 256, and by chance far less.
        """
