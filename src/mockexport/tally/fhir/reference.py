"""The tally of FHIR resources in plain Python: the reference for the native one, written to be read."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from mockexport.model import Counts
from mockexport.tally.contract import MAX_PAIRS, PAIR_BYTES, TooManyPairs, pairs_too_large, too_many_pairs
from mockexport.tally.fhir.contract import MAX_RESOURCE_BYTES
from mockexport.tally.fhir.resources import ResourceReader, check_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mockexport.tally.fhir.resources import Resource

__all__ = ["ReferenceResourceTally"]


class ReferenceResourceTally:
    """Counts the FHIR resources of one NDJSON body; the contract is `mockexport.tally.fhir.contract.ResourceTally`."""

    def __init__(
        self,
        *,
        skip: bool = False,
        max_row_bytes: int = MAX_RESOURCE_BYTES,
        max_pairs: int = MAX_PAIRS,
        by: str = "type",
        strict: bool = False,  # noqa: ARG002 - it always is
        base: str | None = None,
    ) -> None:
        check_by(by)
        self._reader = ResourceReader(partial(record_of, by), skip=skip, max_row_bytes=max_row_bytes, base=base)
        self._max_pairs = max_pairs
        self._numbers: Counter[tuple[bool, str, str]] = Counter()  # by: has a patient; the patient or why not; label
        self._pair_bytes = 0
        self._ended = False

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._reader.rows

    @property
    def between_rows(self) -> bool:
        """Whether the bytes so far end where a row ends."""
        return self._reader.between_rows

    def feed(self, chunk: bytes, /) -> None:
        """Take in the next bytes."""
        self._end()
        self._take(self._reader.feed(chunk))
        self._ended = False

    def finish(self) -> Counts:
        """End the body, and return what was counted."""
        self._end()
        self._take(self._reader.finish())
        patients: dict[str, dict[str, int]] = {}
        unassigned: dict[str, dict[str, int]] = {}
        for (is_patient, who, label), n in self._numbers.items():
            if is_patient:
                patients.setdefault(who, {})[label] = n
            else:
                unassigned.setdefault(label, {})[who] = n
        return Counts(patients, dict(self._reader.left_out), unassigned)

    def _end(self) -> None:
        """Refuse to go on after this call; `feed` takes that back when its chunk was sound."""
        if self._ended:
            raise ValueError("this tally has ended")
        self._ended = True

    def _take(self, records: Iterable[tuple[bool, str, str]]) -> None:
        for key in records:
            if key not in self._numbers:
                self._check(*key)
            self._numbers[key] += 1

    def _check(self, is_patient: bool, who: str, label: str) -> None:
        """Raise TooManyPairs if there is no room for one more."""
        size = (len(who.encode()) if is_patient else 2) + len(label.encode())
        if len(self._numbers) + 1 > self._max_pairs:
            raise TooManyPairs(self._reader.line, too_many_pairs(self._max_pairs))
        if self._pair_bytes + size > self._max_pairs * PAIR_BYTES:
            raise TooManyPairs(self._reader.line, pairs_too_large(self._max_pairs))
        self._pair_bytes += size


def record_of(by: str, resource: Resource) -> tuple[bool, str, str]:
    """Return whether a resource has a patient, its name or why there is none, and the label. Raises Problem."""
    return resource.is_patient, resource.who, resource.label(by)
