"""Several servers of one service: posts are spread over them, and one that is away leaves its share to the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mockexport.errors import UnreachableError
from mockexport.heartrate.load.client import wait_until_one_answers
from mockexport.http import Retries, RetryableError, schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport.errors import MockExportError
    from mockexport.heartrate.load.client import Answer, HeartRateClient

__all__ = ["HeartRateNodes"]

HEALTH_SECONDS = 2.0  # for one server of several to answer at /health
LONGEST_REST = 30.0  # seconds


@dataclass(slots=True, eq=False)
class _Node:
    """A server. After a failure it rests: each time twice as long, or as long as it asks for."""

    client: HeartRateClient
    running: int = 0
    answered: int = 0
    failures: int = 0
    in_a_row: int = 0
    rests_until: float = 0.0


class HeartRateNodes:
    """The servers of one service, which all have the same readings; a post goes to any of them. Thread-safe.

    `retries` says how often a post is tried at all servers that do not rest, after the first time.
    """

    def __init__(
        self, clients: Sequence[HeartRateClient], *, timeout: float = 30.0, retries: Retries | None = None
    ) -> None:
        self.url = ", ".join(client.url for client in clients)
        self._nodes = [_Node(client) for client in clients]
        self._timeout = timeout
        self._retries = retries or Retries()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._last_error: MockExportError | None = None

    def wait_until_ready(self, on_waiting: Callable[[], None] | None = None) -> None:
        """Wait until one of the servers answers at /health, as `HeartRateClient.wait_until_ready` does."""
        asks = [node.client.ask_health for node in self._nodes]
        wait_until_one_answers(asks, HEALTH_SECONDS, self._timeout, self._closed, on_waiting)

    def post(self, path: str, body: bytes) -> Answer:
        """Post readings to one server after another until they are acknowledged or refused as invalid.

        A reading that two servers got counts once. Raises what `HeartRateClient.post` raises.
        """
        failed: list[_Node] = []
        retrying = schedule(self._retries, self._closed)
        try:
            answer: Answer = retrying(partial(self._post_to_any, path, body, failed))
        except RetryableError as failure:
            raise failure.error from failure
        return replace(answer, tried_again=len(failed))

    def failures(self) -> dict[str, int]:
        """Return how many posts each server failed to answer, by its URL."""
        with self._lock:
            return {node.client.url: node.failures for node in self._nodes}

    def break_off(self) -> None:
        """Abort all requests and waits of other threads; no server can be used afterwards."""
        self._closed.set()
        for node in self._nodes:
            node.client.break_off()

    def _post_to_any(self, path: str, body: bytes, failed: list[_Node]) -> Answer:
        """Try each server that does not rest, until one answers. Raises RetryableError."""
        tried: list[_Node] = []
        while node := self._choose(tried):
            tried.append(node)
            began = time.monotonic()
            try:
                answer = node.client.post_once(path, body)
            except RetryableError as failure:
                self._rest(node, failure, began)
                failed.append(node)
            else:
                with self._lock:
                    node.answered += 1
                    node.in_a_row = 0
                return answer
            finally:
                with self._lock:
                    node.running -= 1
        with self._lock:
            error = self._last_error or UnreachableError(f"none of {self.url} answers")
            rest = min(node.rests_until for node in self._nodes) - time.monotonic()
        raise RetryableError(error, max(0.0, rest))

    def _choose(self, tried: Sequence[_Node]) -> _Node | None:
        """Return the server that is least busy, of those that do not rest and were not tried."""
        with self._lock:
            now = time.monotonic()
            free = [node for node in self._nodes if node.rests_until <= now and node not in tried]
            if not free or self._closed.is_set():
                return None
            chosen = min(free, key=lambda node: (node.running, node.answered))
            chosen.running += 1
            return chosen

    def _rest(self, node: _Node, failure: RetryableError, began: float) -> None:
        with self._lock:
            node.failures += 1
            self._last_error = failure.error
            if node.rests_until > began:
                return  # another post failed meanwhile, too
            rest = failure.wait
            if rest is None:
                rest = min(LONGEST_REST, self._retries.first_wait * 2**node.in_a_row)
            node.in_a_row += 1
            node.rests_until = time.monotonic() + rest
