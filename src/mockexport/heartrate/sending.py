"""The load generator: made-up readings of many users and devices, sent as real devices send them.

Several devices of a user report side by side; readings come late and out of order, some come twice, some make no sense,
and they arrive in bursts. The same seed makes the same readings in the same posts, so what was sent can be reconciled
with what was kept.
"""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from array import array
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from mockexport.errors import UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mockexport.heartrate.client import Answer, HeartRateClient

__all__ = ["OnSending", "Plan", "Post", "Sent", "Summary", "posts", "send"]

READINGS = 10_000
START = datetime(2025, 8, 26, tzinfo=UTC)
READINGS_A_BATCH = 1_000
SHUFFLED = 500  # readings among which the order is lost
LATE = 0.02  # the share of readings that come much later than those beside them
LATE_READINGS = 5_000
SECONDS_APART = 20
SILENT = 0.5  # the chance of a device to have nothing to say
ZONES = ("", "Z", "+00:00", "+02:00", "-05:00", "+05:30")
WRONG = (
    {"heart_rate": 0},
    {"heart_rate": "fast"},
    {"timestamp": "yesterday"},
    {"user_id": ""},
    {"device_id": None},
)
BATCH_ACCEPTED = 202
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `readings` None goes on until `seconds` are over; `rate` None is as fast as it goes.

    `duplicates` and `invalid` are shares of what is sent. With a rate, `burst` readings go out at once, and then none
    until the rate is kept to.
    """

    readings: int | None = READINGS
    seconds: float | None = None
    seed: int = 0
    users: int = 10
    devices: int = 3
    start: datetime = START
    batch: int = READINGS_A_BATCH
    singles: bool = False
    duplicates: float = 0.05
    invalid: float = 0.0
    rate: float | None = None
    burst: int = 2_000
    clients: int = 4


@dataclass(frozen=True, slots=True)
class Post:
    """A request to be made; `numbers` are those of its valid readings, the same for the same reading sent again."""

    body: bytes
    readings: int
    numbers: list[int]


@dataclass(slots=True)
class Sent:
    """How far it is."""

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    tried_again: int = 0


OnSending: TypeAlias = "Callable[[Sent], None]"
"""Told ten times a second how far it is."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of it all; `distinct` counts each reading once, `ack` is from a post's first try to its answer."""

    sent: int
    accepted: int
    rejected: int
    distinct: int
    tried_again: int
    seconds: float
    readings_per_second: float
    ack_p50_ms: float | None
    ack_p99_ms: float | None


def posts(plan: Plan) -> Iterator[Post]:
    """Make up the posts, in order; without end when the plan names no number of readings."""
    stream = _with_others(plan, random.Random(f"{plan.seed} others"))
    size = 1 if plan.singles else plan.batch
    while some := list(itertools.islice(stream, size)):
        readings = [reading for _, reading in some]
        body = orjson.dumps(readings[0] if plan.singles else {"readings": readings})
        yield Post(body, len(some), [number for number, _ in some if number is not None])


def _with_others(plan: Plan, chance: random.Random) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Put duplicates and invalid readings among the readings; of these `readings` in all."""
    recent: list[tuple[int, dict[str, Any]]] = []
    distinct = _late(plan, random.Random(f"{plan.seed} order"))
    for _ in itertools.count() if plan.readings is None else range(plan.readings):
        drawn = chance.random()
        if drawn < plan.invalid:
            yield None, {**next(distinct)[1], **chance.choice(WRONG)}
        elif recent and drawn < plan.invalid + plan.duplicates:
            yield chance.choice(recent)
        else:
            found = next(distinct)
            recent.append(found)
            if len(recent) > LATE_READINGS:
                recent = recent[-SHUFFLED:]
            yield found


def _late(plan: Plan, chance: random.Random) -> Iterator[tuple[int, dict[str, Any]]]:
    """Take the readings out of their order: a little all of them, much some of them."""
    late: list[tuple[int, dict[str, Any]]] = []
    stream = enumerate(_readings(plan))
    while True:
        near = list(itertools.islice(stream, SHUFFLED))
        chance.shuffle(near)
        for reading in near:
            if chance.random() < LATE:
                late.append(reading)
                continue
            yield reading
            if len(late) * SHUFFLED > chance.randrange(LATE_READINGS):
                yield late.pop(chance.randrange(len(late)))


def _readings(plan: Plan) -> Iterator[dict[str, Any]]:
    """Make up readings without end, no two of the same user, device and instant: in rounds of all users and devices."""
    chance = random.Random(f"{plan.seed} readings")
    devices = [f"device_{_letters(number)}" for number in range(plan.devices)]
    users = [f"user_{number:03}" for number in range(1, plan.users + 1)]
    rates = [chance.gauss(75, 10) for _ in users]
    for seconds in itertools.count(0, SECONDS_APART):
        for index, user in enumerate(users):
            rates[index] += chance.gauss(0, 1) + (75 - rates[index]) * 0.01
            for device in devices:
                if chance.random() < SILENT:
                    continue
                fraction = chance.choice((0, chance.randrange(1_000_000)))
                moment = timedelta(seconds=seconds + chance.randrange(SECONDS_APART), microseconds=fraction)
                rate = min(220.0, max(30.0, rates[index] + chance.gauss(0, 2)))
                yield {
                    "device_id": device,
                    "user_id": user,
                    "timestamp": _written(plan.start + moment, chance.choice(ZONES)),
                    "heart_rate": round(rate) if chance.getrandbits(1) else round(rate, 1),
                }


def _letters(number: int) -> str:
    """Number as columns of a sheet are: a to z, aa, ab and so on."""
    text = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = chr(ord("a") + letter) + text
    return text


def _written(moment: datetime, zone: str) -> str:
    """Write an instant as devices do: without an offset in UTC, with `Z`, or as the clock stands in another zone."""
    if zone[:1] not in ("+", "-"):
        return moment.replace(tzinfo=None).isoformat() + zone
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (1 if zone[0] == "+" else -1)
    return (moment.replace(tzinfo=None) + offset).isoformat() + zone


def send(client: HeartRateClient, plan: Plan, on_progress: OnSending | None = None) -> Summary:
    """Send it all, with `plan.clients` requests at a time.

    Whatever can't be sent ends it with that error, and the client with it. `on_progress` is called ten times a second,
    in this thread.
    """
    sending = _Sending(client, plan)
    with ThreadPoolExecutor(plan.clients, "mockexport-send") as workers:
        running = {workers.submit(sending.work) for _ in range(plan.clients)}
        try:
            while running:
                done, running = wait(running, LOOK_SECONDS, FIRST_EXCEPTION)
                for ended in done:
                    ended.result()
                if on_progress:
                    on_progress(sending.sent)
        except BaseException:
            sending.stop.set()
            client.break_off()
            raise
    return sending.summary()


class _Sending:
    """What the threads that send have in common."""

    def __init__(self, client: HeartRateClient, plan: Plan) -> None:
        self.sent = Sent()
        self.stop = threading.Event()
        self._client = client
        self._plan = plan
        self._path = "/metrics/heart-rate" + ("" if plan.singles else "/batch")
        self._posts = posts(plan)
        self._taken = 0
        self._taking = threading.Lock()
        self._telling = threading.Lock()
        self._kept = bytearray()
        self._acks = array("d")
        self._started = time.monotonic()

    def work(self) -> None:
        """Make posts until there are no more, or the time is over."""
        while (taken := self._take()) is not None:
            post, due = taken
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            began = time.monotonic()
            answer = self._client.post(self._path, post.body)
            self._tell(post, answer, time.monotonic() - began)

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

    def _tell(self, post: Post, answer: Answer, seconds: float) -> None:
        accepted, rejected = self._outcome(post, answer)
        if accepted != len(post.numbers):
            raise UntrustedDataError(
                f"{self._client.url} accepted {accepted} of {len(post.numbers)} valid readings; it says: "
                f"{str(answer.document)[:200]}"
            )
        with self._telling:
            self._acks.append(seconds)
            self.sent.sent += post.readings
            self.sent.accepted += accepted
            self.sent.rejected += rejected
            self.sent.tried_again += answer.tried_again
            for number in post.numbers:
                if number >= len(self._kept):
                    self._kept.extend(bytes(max(number + 1 - len(self._kept), len(self._kept), LATE_READINGS)))
                self._kept[number] = 1

    def _outcome(self, post: Post, answer: Answer) -> tuple[int, int]:
        if answer.status != BATCH_ACCEPTED:
            return 0, post.readings
        if self._plan.singles:
            return 1, 0
        try:
            accepted, rejected = answer.document["accepted"], answer.document["rejected"]
        except (KeyError, TypeError):
            accepted, rejected = -1, -1
        if not isinstance(accepted, int) or not isinstance(rejected, int) or accepted + rejected != post.readings:
            raise UntrustedDataError(f"{self._client.url} doesn't say how many it accepted; is it a heart-rate server?")
        return accepted, rejected

    def summary(self) -> Summary:
        """Sum up, once all threads have ended."""
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
        )


def _percentile_ms(seconds: array[float], share: float) -> float | None:
    """Return a percentile, the nearest rank, in milliseconds."""
    if not seconds:
        return None
    return round(sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)] * 1000, 3)
