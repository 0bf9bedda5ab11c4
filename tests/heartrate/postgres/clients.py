"""Many clients that send and ask at random, through any node, and write down what they are told.

A minute of a user has three readings, all in one post, so that each part of them has another average than the whole. It
may be sent again, with other rates, by any client, while the former is on its way or later.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from tests.heartrate.postgres.history import History, Outcome, Post, Query, Value
from tests.heartrate.serving import BATCH, ONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.heartrate.postgres.nodes import Node

USERS = ("ann", "bob", "Zoë")
START = datetime(2024, 1, 15)  # noqa: DTZ001 - written without an offset, which means UTC
SPACING = timedelta(minutes=7)  # so that a few thousand minutes are some weeks
VERSIONS = 8  # from 9 on, averages would no longer tell them apart
READINGS_A_MINUTE = 3
PATIENCE = 6.0  # seconds that a client waits, unless the run is about answers that come later


def readings_of(user: str, minute: int, version: int) -> list[dict[str, Any]]:
    """The readings that make up a version of a minute."""
    start = START + minute * SPACING
    moments = {at: (start + timedelta(seconds=at)).isoformat() for at in (0, 30)}
    return [
        {"user_id": user, "device_id": device, "timestamp": moments[at], "heart_rate": rate}
        for device, at, rate in (
            ("device_a", 0, 40 + version),
            ("device_a", 30, 100 + version / 8),
            ("device_b", 0, 150 + version),
        )
    ]


def value_of(version: int) -> Value:
    """What a query must show of it: the average of the preferred device. No mixture of versions has that value."""
    return (140 + version * 9 / 8) / 2, "device_a"


@dataclass
class Minutes:
    """What has been sent: the number of versions of each minute, by user."""

    versions: dict[str, list[int]] = field(default_factory=lambda: {user: [] for user in USERS})
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, user: str, number: int, chance: random.Random) -> dict[int, int]:
        """Return some minutes to be sent, new ones or lately sent ones, and the version of each."""
        with self.lock:
            known = self.versions[user]
            again = chance.random() < 0.3 and len(known) > number
            first = max(0, len(known) - chance.randrange(number, 4 * number)) if again else len(known)
            known.extend([0] * (first + number - len(known)))
            chosen = [minute for minute in range(first, first + number) if known[minute] < VERSIONS]
            found = {}
            for minute in chosen:
                found[minute], known[minute] = known[minute], known[minute] + 1
            return found

    def known(self, user: str) -> int:
        with self.lock:
            return len(self.versions[user])


@dataclass
class Clients:
    """Clients of some nodes; they run until `stop`. `entered` puts a thread to where it reaches the nodes."""

    nodes: Sequence[Node]
    seed: str
    entered: Callable[[], AbstractContextManager[None]] = nullcontext
    pause: float = 0.02  # seconds, on average, between two requests of a client
    patience: float = PATIENCE
    history: History = field(default_factory=History)
    wrong: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    minutes: Minutes = field(default_factory=Minutes)
    stopping: threading.Event = field(default_factory=threading.Event)
    accepted: threading.Condition = field(default_factory=threading.Condition)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, senders: int = 4, readers: int = 2) -> None:
        for number, work in enumerate([self._send] * senders + [self._ask] * readers):
            self.threads.append(threading.Thread(target=self._run, args=(work, f"{self.seed}/{number}")))
            self.threads[-1].start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        self.threads = []

    def wait_until_accepted(self, posts: int, seconds: float = 90) -> None:
        """Wait until so many more posts are acknowledged."""
        with self.accepted:
            wanted = self.history.count(Outcome.OK) + posts
            enough = self.accepted.wait_for(lambda: self.wrong or self.history.count(Outcome.OK) >= wanted, seconds)
        assert not self.wrong, "\n".join([*self.wrong[:5], *(node.told() for node in self.nodes)])
        assert enough, "\n".join([self.summary(), *(f"{node.health()}\n{node.told()}" for node in self.nodes)])

    def ask_all(self, node: Node) -> dict[str, int]:
        """Ask a node for all minutes of all users, and write that down, too; return how many minutes each has."""
        found = {}
        with httpx.Client(base_url=node.url, timeout=60, trust_env=False) as client:
            for user in USERS:
                seen = self._query(client, node, user, 0, self.minutes.known(user))
                assert seen is not None, f"{node.name} does not answer: {self.statuses}\n{node.told()}"
                found[user] = len(seen)
        return found

    def summary(self) -> str:
        posts = {outcome.value: self.history.count(outcome) for outcome in Outcome}
        return f"posts {posts}, queries {len(self.history.queries)}, answers {self.statuses}"

    def _run(self, work: Callable[[httpx.Client, Node, random.Random], None], seed: str) -> None:
        chance = random.Random(seed)
        limits = httpx.Timeout(self.patience, connect=1)
        try:
            with self.entered(), httpx.Client(timeout=limits, trust_env=False) as client:
                while not self.stopping.wait(chance.uniform(0, 2 * self.pause)):
                    work(client, chance.choice(self.nodes), chance)
        except BaseException as error:
            self.wrong.append(f"a client ended: {error!r}")
            raise

    def _send(self, client: httpx.Client, node: Node, chance: random.Random) -> None:
        user = chance.choice(USERS)
        minutes = self.minutes.next(user, chance.randrange(1, 25), chance)
        if not minutes:
            return
        readings = [one for minute, version in minutes.items() for one in readings_of(user, minute, version)]
        began = time.monotonic()
        outcome = Outcome.UNKNOWN
        try:
            answer = client.post(f"{node.url}{BATCH}", json={"readings": readings})
        except httpx.TransportError as error:
            outcome = Outcome.REFUSED if isinstance(error, httpx.ConnectError) else Outcome.UNKNOWN
            self._count(f"post: {type(error).__name__}")
            self.stopping.wait(0.1)
        else:
            self._count(f"post: {answer.status_code}")
            outcome = Outcome.OK if answer.status_code == 202 else Outcome.REFUSED
            self._check(node, answer, (202, 503))
            if outcome is Outcome.OK and answer.json()["accepted"] != len(readings):
                self.wrong.append(f"{node.name} accepted a part: {answer.text}")
        ended = time.monotonic()
        values = {(user, minute): value_of(version) for minute, version in minutes.items()}
        with self.accepted:
            self.history.posts.append(Post(node.name, began, ended, outcome, values))
            self.accepted.notify_all()

    def _ask(self, client: httpx.Client, node: Node, chance: random.Random) -> None:
        user = chance.choice(USERS)
        last = self.minutes.known(user)
        first = 0 if chance.random() < 0.1 else max(0, last - chance.randrange(1, 200))
        self._query(client, node, user, first, last)

    def _query(self, client: httpx.Client, node: Node, user: str, first: int, last: int) -> dict[int, Value] | None:
        start, end = START + first * SPACING, START + last * SPACING + timedelta(seconds=59)
        asked = {"user_id": user, "start": start.isoformat(), "end": end.isoformat()}
        began = time.monotonic()
        try:
            answer = client.get(f"{node.url}{ONE}", params=asked)
        except httpx.TransportError as error:
            self._count(f"query: {type(error).__name__}")
            return None
        ended = time.monotonic()
        self._count(f"query: {answer.status_code}")
        self._check(node, answer, (200, 404, 503))
        if answer.status_code not in (200, 404):
            return None
        points = answer.json()["data"] if answer.status_code == 200 else []
        seen = {minute_at(point["timestamp"]): (point["heart_rate"], point["device_id"]) for point in points}
        if len(seen) != len(points):
            self.wrong.append(f"{node.name} shows a minute twice: {answer.text[:300]}")
        self.history.queries.append(Query(node.name, began, ended, user, first, last, seen))
        return seen

    def _check(self, node: Node, answer: httpx.Response, allowed: tuple[int, ...]) -> None:
        what = f"{node.name} answered {answer.status_code} to {answer.request.method}: {answer.text[:300]}"
        if answer.status_code not in allowed:
            self.wrong.append(what)
        if answer.status_code == 503 and "Retry-After" not in answer.headers:
            self.wrong.append(f"{what} without Retry-After")

    def _count(self, what: str) -> None:
        with self.accepted:
            self.statuses[what] = self.statuses.get(what, 0) + 1


def minute_at(timestamp: str) -> int:
    """The number of the minute that a query shows."""
    since = datetime.fromisoformat(timestamp).replace(tzinfo=None) - START
    assert since % SPACING == timedelta(0), timestamp
    return since // SPACING


@contextmanager
def clients_of(
    nodes: Sequence[Node],
    seed: str,
    entered: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    senders: int = 4,
    readers: int = 2,
    pause: float = 0.02,
    patience: float = PATIENCE,
) -> Iterator[Clients]:
    """Let clients send and ask while the block runs."""
    clients = Clients(nodes, seed, entered, pause, patience)
    try:
        clients.start(senders, readers)
        yield clients
    finally:
        clients.stop()
