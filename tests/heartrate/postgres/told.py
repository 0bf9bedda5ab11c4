"""What a server was told by its journal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mockexport.heartrate.journal import Entry

__all__ = ["WAIT_SECONDS", "Told"]

WAIT_SECONDS = 60


class Told:
    """The batches, by stream."""

    def __init__(self) -> None:
        self.streams: dict[str, list[Entry]] = {}

    def __call__(self, stream: str, entries: list[Entry]) -> None:
        self.streams.setdefault(stream, []).extend(entries)

    def payloads(self) -> Counter[bytes]:
        return Counter(entry.payload for entries in list(self.streams.values()) for entry in list(entries))

    def ids(self) -> list[int]:
        return [entry.id for entries in self.streams.values() for entry in entries]

    def in_order(self) -> bool:
        """Whether the ids of each stream rise, and none is there twice."""
        streams = [[entry.id for entry in entries] for entries in self.streams.values()]
        return all(ids == sorted(set(ids)) for ids in streams) and len(set(self.ids())) == len(self.ids())
