from typing import Self

from mockexport.sources.mock.specs import Plan

class NativeGenerator:
    """Makes the CSV of one download; the contract is `mockexport.sources.mock.reference.Generator`.

    Raises ValueError for a plan beyond what it makes: names of up to 29 bytes, values from 0 to 999, at most
    4,096 patients; RuntimeError when two threads use one generator at the same time.
    """

    def __new__(cls, plan: Plan, /) -> Self: ...
    def read(self, size: int, /) -> bytes: ...
