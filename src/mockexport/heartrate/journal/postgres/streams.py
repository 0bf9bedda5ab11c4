"""What this server knows of each stream: what was delivered, and what is released.

Batches come from the writer (its own) and from the reader (all). Both come in the order of their stream and without a
gap, so an id that is not above the newest one was delivered before.
"""

from __future__ import annotations

import threading
from itertools import groupby
from typing import TYPE_CHECKING

from mockexport.heartrate.journal.contract import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mockexport.heartrate.journal.contract import OnCommit

__all__ = ["Streams"]


class Streams:
    """The streams of a journal, by slot: a small number, from which the name of the stream is made. Thread-safe."""

    def __init__(self, journal: str, on_commit: OnCommit) -> None:
        self.journal, self._on_commit = journal, on_commit
        self._delivering = threading.Lock()
        self._positions: dict[int, int] = {}
        self._released: dict[int, int] = {}

    def name(self, slot: int) -> str:
        """Return the name of a slot's stream."""
        return f"{self.journal}-{slot}"

    def slot(self, stream: str) -> int:
        """Return the slot of a stream. Raises ValueError if it is not one of this journal."""
        journal, _, slot = stream.rpartition("-")
        if journal != self.journal:
            raise ValueError(f"{stream} is not a stream of the journal {self.journal}")
        return int(slot)

    @property
    def positions(self) -> Mapping[str, int]:
        """By stream, the newest batch that was delivered, or is released."""
        return {self.name(slot): position for slot, position in self._positions.copy().items()}

    @property
    def released(self) -> Mapping[str, int]:
        """By stream, the newest batch that is known to be released."""
        return {self.name(slot): position for slot, position in self._released.copy().items()}

    @property
    def newest(self) -> int:
        """The largest id that is known."""
        return max(self._positions.copy().values(), default=0)

    def known(self) -> tuple[list[int], list[int]]:
        """Return the slots, and the position in each."""
        positions = self._positions.copy()
        return list(positions), list(positions.values())

    def deliver(self, batches: Iterable[tuple[int, int, bytes]]) -> None:
        """Deliver batches (slot, id, payload), ordered by slot and id, that were not delivered yet."""
        with self._delivering:
            for slot, of_slot in groupby(batches, key=lambda batch: batch[0]):
                before = self._positions.get(slot, 0)
                if entries := [Entry(id_, payload) for _, id_, payload in of_slot if id_ > before]:
                    self._on_commit(self.name(slot), entries)
                    self._positions[slot] = entries[-1].id

    def release(self, released: Iterable[tuple[int, int]]) -> None:
        """Note what is released, by slot: what was not delivered of it, will not be."""
        with self._delivering:
            for slot, position in released:
                if not position:  # of a stream without a batch
                    continue
                self._positions[slot] = max(position, self._positions.get(slot, 0))
                self._released[slot] = max(position, self._released.get(slot, 0))
