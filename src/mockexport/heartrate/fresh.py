"""Fresh readings: whoever watches a user is told of readings as they are stored, by this server or another one."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from mockexport.heartrate.readings import decode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["FreshReadings"]

KEPT = 256  # of the readings that a watcher has not taken yet; the older ones are dropped
SECOND = 1_000_000  # microseconds

log = logging.getLogger(__name__)


class FreshReadings:
    """Tells watchers of readings. `watch` is for one thread, `tell` for any. What nobody watches costs little."""

    def __init__(self) -> None:
        self._watchers: tuple[tuple[str, bytes, deque[dict[str, Any]]], ...] = ()  # replaced when one comes or goes

    @contextmanager
    def watch(self, user: str) -> Generator[deque[dict[str, Any]], None, None]:
        """While the block lasts, collect a user's readings, in the order in which they are stored.

        Each has its `time` in seconds since 1970, its `heart_rate` in beats a minute, and its `device_id`.
        """
        collected: deque[dict[str, Any]] = deque(maxlen=KEPT)
        watcher = (user, orjson.dumps(user), collected)
        self._watchers = (*self._watchers, watcher)
        try:
            yield collected
        finally:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

    def tell(self, batches: Iterable[bytes]) -> None:
        """Take encoded batches that have just been stored. Raises nothing: that nobody is told of one harms nothing."""
        if not self._watchers:
            return
        try:
            for batch in batches:
                watchers = [watcher for watcher in self._watchers if watcher[1] in batch]  # decoding is dear
                if watchers:
                    _tell(watchers, batch)
        except Exception as error:  # noqa: BLE001 -- a MemoryError, say
            log.warning("pages were not told of fresh readings: %r", error)


def _tell(watchers: Iterable[tuple[str, bytes, deque[dict[str, Any]]]], batch: bytes) -> None:
    readings = decode(batch)
    for user, _, collected in watchers:
        for at, of_user in enumerate(readings.users):
            if of_user == user:
                time, rate, device = readings.times[at], readings.rates[at], readings.devices[at]
                collected.append({"time": time / SECOND, "heart_rate": rate, "device_id": device})
