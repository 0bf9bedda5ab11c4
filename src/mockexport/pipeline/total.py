"""The sum of many counts, which grows and holds none of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mockexport.errors import Remedy, UntrustedDataError
from mockexport.model import Counts
from mockexport.tally import PAIR_BYTES, pairs_too_large, too_many_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RunningTotal"]


class RunningTotal:
    """A sum of counts that grows, and holds no part of it for longer than it is added.

    `max_pairs` limits it as it does a tally (tally/contract.py); `name` is what a sum past that is the sum of.
    """

    def __init__(self, max_pairs: int | None = None, name: str = "") -> None:
        self._patients: dict[str, dict[str, int]] = {}
        self._unassigned: dict[str, dict[str, int]] = {}
        self._left_out: Counter[str] = Counter()
        self._max_pairs = max_pairs
        self._name = name
        self._pairs = self._pair_bytes = 0

    def add(self, part: Counts) -> None:
        """Add counts. Raises UntrustedDataError when there are too many pairs in all."""
        for patient, types in part.patients.items():
            self._add(self._patients, patient, types)
        for event_type, reasons in part.unassigned.items():
            self._add(self._unassigned, event_type, reasons)
        self._left_out.update(part.left_out)

    def _add(self, total: dict[str, dict[str, int]], name: str, numbers: Mapping[str, int]) -> None:
        known = total.setdefault(name, {})
        for other, n in numbers.items():
            if other not in known:
                self._pairs += 1
                self._pair_bytes += _utf8_bytes(name) + _utf8_bytes(other)
            known[other] = known.get(other, 0) + n
        if self._max_pairs is not None:
            self._check(self._max_pairs)

    def _check(self, max_pairs: int) -> None:
        if self._pairs > max_pairs:
            raise UntrustedDataError(f"{self._name} has {too_many_pairs(max_pairs)}", remedy=Remedy.MAX_PAIRS)
        if self._pair_bytes > max_pairs * PAIR_BYTES:
            raise UntrustedDataError(f"{self._name} has {pairs_too_large(max_pairs)}", remedy=Remedy.MAX_PAIRS)

    @property
    def result(self) -> Counts:
        """What the sum is."""
        return Counts(self._patients, dict(self._left_out), self._unassigned)


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
