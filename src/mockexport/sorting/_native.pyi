from typing import Self

from mockexport.sorting.contract import DistinctKeys, PairTimes

def sort_records(buffer: bytearray, width: int, /) -> None:
    """Sort records of this width in place; the contract is `mockexport.sorting.contract.Sort`."""

class NativeGaps:
    """The contract is `mockexport.sorting.contract.Gaps`, with any buffer for bytes.

    Raises RuntimeError when two threads use one fold at the same time.
    """

    def __new__(cls) -> Self: ...
    def feed(self, block: bytes, /) -> None: ...
    def finish(self) -> dict[int, PairTimes]: ...

class NativeDistinct:
    """The contract is `mockexport.sorting.contract.Distinct`, with any buffer for bytes.

    Raises RuntimeError when two threads use one fold at the same time.
    """

    def __new__(cls) -> Self: ...
    def feed(self, block: bytes, /) -> None: ...
    def finish(self) -> DistinctKeys: ...
