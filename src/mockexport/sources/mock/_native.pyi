from collections.abc import Sequence
from typing import Self

from mockexport.sources.mock.reference import Template
from mockexport.sources.mock.specs import Plan

class NativeGenerator:
    """Makes the rows of one download; the contract is `mockexport.sources.mock.reference.Generator`.

    Raises ValueError for a plan beyond what it makes: names of up to 29 bytes, values from 0 to 999, at most
    4,096 patients, templates of up to 4,096 bytes; RuntimeError when two threads use one generator at the same time.
    """

    def __new__(cls, plan: Plan, templates: Sequence[Template] | None = None, /) -> Self: ...
    def read(self, size: int, /) -> bytes: ...
