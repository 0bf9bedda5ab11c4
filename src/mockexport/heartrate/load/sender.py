"""The load generator: sends synthetic readings and sums up the responses."""

from __future__ import annotations

import math
import threading
import time
from array import array
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from mockexport.errors import UntrustedDataError
from mockexport.heartrate.load.client import PATH
from mockexport.heartrate.load.nodes import HeartRateNodes
from mockexport.heartrate.load.synthetic import posts

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.heartrate.load.client import Answer, HeartRateClient
    from mockexport.heartrate.load.synthetic import Plan, Post

    Client = HeartRateClient | HeartRateNodes

__all__ = ["OnSending", "SendInterrupted", "Sent", "Summary", "send"]

ACCEPTED = 202
PROGRESS_SECONDS = 0.1


@dataclass(slots=True)
class Sent:
    """The progress so far, in readings and retries."""

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    tried_again: int = 0


OnSending: TypeAlias = "Callable[[Sent], None]"
"""Called ten times a second with the progress."""


@dataclass(slots=True)
class NodeSummary:
    """What one of several servers answered, in readings, and how many posts it failed to answer."""

    url: str
    accepted: int = 0
    rejected: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The result; `distinct` counts each reading once, `ack` is the time from a post's first try to its response.

    `nodes` is there if there are several servers.
    """

    sent: int
    accepted: int
    rejected: int
    distinct: int
    tried_again: int
    seconds: float
    readings_per_second: float
    ack_p50_ms: float | None
    ack_p99_ms: float | None
    nodes: list[NodeSummary] | None = None


class SendInterrupted(KeyboardInterrupt):
    """Ctrl-C ended the run; `summary` has what was acknowledged by then."""

    def __init__(self, summary: Summary) -> None:
        super().__init__()
        self.summary = summary


def send(client: Client, plan: Plan, on_progress: OnSending | None = None) -> Summary:
    """Send all readings of a plan, with `plan.clients` requests at a time.

    `on_progress` is called ten times a second, in this thread. The first error ends the run and aborts the client.
    Raises what `HeartRateClient.post` raises, and SendInterrupted.
    """
    sending = _Sending(client, plan)
    try:
        _run(sending, client, plan.clients, on_progress)
    except KeyboardInterrupt:
        raise SendInterrupted(sending.summary()) from None
    return sending.summary()


def _run(sending: _Sending, client: Client, clients: int, on_progress: OnSending | None) -> None:
    with ThreadPoolExecutor(clients, "mockexport-send") as workers:
        running = {workers.submit(sending.work) for _ in range(clients)}
        try:
            while running:
                done, running = wait(running, PROGRESS_SECONDS, FIRST_EXCEPTION)
                for ended in done:
                    ended.result()
                if on_progress:
                    on_progress(sending.sent)
        except BaseException:
            sending.stop.set()
            client.break_off()
            raise


class _Sending:
    """The shared state of the sending threads."""

    def __init__(self, client: Client, plan: Plan) -> None:
        self.sent = Sent()
        self.stop = threading.Event()
        self._client = client
        self._plan = plan
        self._path = PATH + ("" if plan.singles else "/batch")
        failures = client.failures() if isinstance(client, HeartRateNodes) else {}
        self._nodes = {url: NodeSummary(url) for url in failures}
        self._posts = posts(plan)
        self._taken = 0
        self._taking = threading.Lock()
        self._recording = threading.Lock()
        self._kept = bytearray()
        self._acks = array("d")
        self._started = time.monotonic()

    def work(self) -> None:
        """Send posts until there are no more, or the time is over."""
        while (taken := self._take()) is not None:
            post, due = taken
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            answer = self._client.post(self._path, post.body)
            self._record(post, answer, time.monotonic() - began)

    def _take(self) -> tuple[Post, float] | None:
        """Return the next post and when it is due."""
        plan = self._plan
        with self._taking:
            due = self._started
            if plan.rate:
                due += self._taken // plan.burst * plan.burst / plan.rate
            over = plan.seconds is not None and max(due, time.monotonic()) >= self._started + plan.seconds
            post = None if over or self.stop.is_set() else next(self._posts, None)
            self._taken += post.readings if post else 0
        return None if post is None else (post, due)

    def _record(self, post: Post, answer: Answer, seconds: float) -> None:
        accepted, rejected = self._outcome(post, answer)
        if accepted != len(post.numbers):
            raise UntrustedDataError(
                f"{answer.url} accepted {accepted} of {len(post.numbers)} valid readings; its response: "
                f"{str(answer.document)[:200]}"
            )
        with self._recording:
            self._acks.append(seconds)
            self.sent.sent += post.readings
            self.sent.accepted += accepted
            self.sent.rejected += rejected
            self.sent.tried_again += answer.tried_again
            if node := self._nodes.get(answer.url):
                node.accepted += accepted
                node.rejected += rejected
            for number in post.numbers:
                if number >= len(self._kept):
                    self._kept.extend(bytes(max(number + 1 - len(self._kept), len(self._kept))))
                self._kept[number] = 1

    def _outcome(self, post: Post, answer: Answer) -> tuple[int, int]:
        if answer.status != ACCEPTED:
            return 0, post.readings
        if self._plan.singles:
            return 1, 0
        try:
            accepted, rejected = answer.document["accepted"], answer.document["rejected"]
        except (KeyError, TypeError):
            accepted, rejected = -1, -1
        if not isinstance(accepted, int) or not isinstance(rejected, int) or accepted + rejected != post.readings:
            raise UntrustedDataError(
                f"{answer.url} does not say how many readings it accepted; is it a heart-rate server?"
            )
        return accepted, rejected

    def summary(self) -> Summary:
        """Return the result, once all threads have ended."""
        seconds = time.monotonic() - self._started
        return Summary(
            sent=self.sent.sent,
            accepted=self.sent.accepted,
            rejected=self.sent.rejected,
            distinct=self._kept.count(1),
            tried_again=self.sent.tried_again,
            seconds=round(seconds, 3),
            readings_per_second=round(self.sent.sent / seconds, 1),
            ack_p50_ms=_percentile_ms(self._acks, 0.5),
            ack_p99_ms=_percentile_ms(self._acks, 0.99),
            nodes=self._by_node(),
        )

    def _by_node(self) -> list[NodeSummary] | None:
        if not isinstance(self._client, HeartRateNodes):
            return None
        failures = self._client.failures()
        return [replace(node, failures=failures[node.url]) for node in self._nodes.values()]


def _percentile_ms(seconds: array[float], share: float) -> float | None:
    """Return a percentile by the nearest-rank method, in milliseconds."""
    if not seconds:
        return None
    return round(sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)] * 1000, 3)
