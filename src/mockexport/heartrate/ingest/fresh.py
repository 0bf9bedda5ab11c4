"""Fresh readings: whoever watches a user is told of readings as they are stored."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

    from mockexport.heartrate.readings import Readings

__all__ = ["FreshReadings"]

KEPT = 256  # of the readings that a watcher has not taken yet; the older ones are dropped
SECOND = 1_000_000  # microseconds


class FreshReadings:
    """Tells watchers of readings. Use it from one event loop; a reading that nobody watches costs nothing."""

    def __init__(self) -> None:
        self._watched: dict[str, list[deque[dict[str, Any]]]] = {}

    @contextmanager
    def watch(self, user: str) -> Generator[deque[dict[str, Any]], None, None]:
        """While the block lasts, collect a user's readings, in the order in which they are stored.

        Each has its `time` in seconds since 1970, its `heart_rate` in beats a minute, and its `device_id`.
        """
        collected: deque[dict[str, Any]] = deque(maxlen=KEPT)
        watchers = self._watched.setdefault(user, [])
        watchers.append(collected)
        try:
            yield collected
        finally:
            watchers[:] = [watcher for watcher in watchers if watcher is not collected]
            if not watchers:
                self._watched.pop(user, None)

    def tell(self, readings: Readings) -> None:
        """Take readings that have just been stored."""
        if not self._watched:
            return
        for at, user in enumerate(readings.users):
            for watcher in self._watched.get(user, ()):
                watcher.append(
                    {
                        "time": readings.times[at] / SECOND,
                        "heart_rate": readings.rates[at],
                        "device_id": readings.devices[at],
                    }
                )
