from typing import Final, Self

from mockexport.model import Counts

INSTRUCTION_SETS: Final[tuple[str, ...]]
"""What this processor has of the instruction sets that there is code for, the best one first."""

class NativeResourceTally:
    """The native tally of FHIR resources, with any buffer for bytes.

    The contract is `mockexport.tally.fhir.contract.ResourceTally`.

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
        by: str = "type",
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
    def finish(self) -> Counts: ...
