"""Rate limits: how many requests a client may make, and how many readings and queries a user may have, in a time.

What counts is all of the present window, such as a minute, and of the one before it the share that is still less than a
window ago (`SlidingWindowCounterRateLimiter` of the package limits). So two numbers are kept for each client and user.
No window has more than the limit; what came in the last one is taken to be spread over it evenly. Use it from one event
loop.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse_many
from limits.storage import SlidingWindowCounterSupport, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fastapi import Request

__all__ = ["LimitedError", "RateLimits", "TooManyAtOnceError"]

MOST_KEYS = 100_000  # clients or users that are remembered at a time; bounds the memory
NETWORK_OF_A_CLIENT = 64  # bits of an IPv6 address: its holder has all the others of that network, too


class LimitedError(Exception):
    """A limit was reached; nothing was counted. `by` is client or user, `seconds` how long to wait, a whole number."""

    def __init__(self, by: str, what: str, seconds: float) -> None:
        super().__init__(what)
        self.by = by
        self.seconds = math.floor(seconds) + 1  # at the very moment, it would be refused


class TooManyAtOnceError(Exception):
    """A batch has more readings of a user than the limit ever lets through at once: waiting does not help."""


class RateLimits:
    """The limits of a server, each such as `1000/minute`; None is no limit. Raises UsageError for any other text.

    `client` is for requests, `user` for readings and, counted apart, for queries. With `by_token` all who hold the
    token are one client, else those with one address.
    """

    def __init__(
        self,
        client: str | None = None,
        user: str | None = None,
        *,
        by_token: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = _limit(client, "client", "requests of this client", clock)
        self._readings = _limit(user, "user", "readings of this user", clock)
        self._queries = _limit(user, "user", "queries of this user", clock)
        self._by_token = by_token

    def admit_request(self, request: Request) -> None:
        """Count a request of a client. Raises LimitedError."""
        if self._requests:
            client = "token" if self._by_token else _network(request.client.host if request.client else "")
            self._requests.admit({client: 1})

    def admit_readings(self, users: Iterable[str]) -> None:
        """Count readings, given the user of each: all or none. Raises LimitedError or TooManyAtOnceError."""
        if self._readings:
            self._readings.admit(Counter(users))

    def admit_query(self, user: str) -> None:
        """Count a query of a user's readings. Raises LimitedError."""
        if self._queries:
            self._queries.admit({user: 1})


class _Limit:
    """One limit, for many keys."""

    def __init__(self, item: RateLimitItem, by: str, what: str, clock: Callable[[], float]) -> None:
        self._item, self._by, self._what, self._clock = item, by, what, clock
        self._counts = _Counts()
        self._limiter = SlidingWindowCounterRateLimiter(self._counts)

    def admit(self, costs: Mapping[str, int]) -> None:
        """Count a cost for each key, or nothing if one of them would go beyond the limit."""
        self._counts.begin(self._clock())
        largest = max(costs.values(), default=0)
        if largest > self._item.amount:
            raise TooManyAtOnceError(
                f"readings: has {largest:,} of one user, and the limit is {self._described()}: send smaller batches"
            )
        over = [key for key, cost in costs.items() if not self._limiter.hit(self._item, key, cost=cost)]
        if over:
            seconds = max(self._seconds_until_free(key, costs[key]) for key in over)
            raise LimitedError(self._by, f"too many {self._what}; the limit is {self._described()}", seconds)
        self._counts.keep(self._item.get_expiry())

    def _seconds_until_free(self, key: str, cost: int) -> float:
        """Return how long it takes until a cost can be counted, if nothing else is counted meanwhile."""
        window, below = self._item.get_expiry(), self._item.amount - cost + 1
        previous, previous_left, current, current_left = self._counts.get_sliding_window(
            self._item.key_for(key), window
        )
        if current < below:  # enough of the previous window has to slide out
            return previous_left - (below - current) * window / previous
        return current_left - below * window / current  # this window has to slide out, once the next one has begun

    def _described(self) -> str:
        _, name = self._item.GRANULARITY
        return f"{self._item.amount:,} per " + (f"{self._item.multiples} {name}s" if self._item.multiples > 1 else name)


class _Counts(Storage, SlidingWindowCounterSupport):
    """Two counts for each key, of the present window and of the one before, for one limit; at most MOST_KEYS keys.

    The `MemoryStorage` of limits does not bound its keys, and has a thread look at all of them again and again. What is
    counted after `begin` is kept by `keep`, or not at all; each key is counted once in between.
    """

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0  # seconds
        self._windows: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # number, count, the previous count
        self._changed: dict[str, tuple[int, int, int]] = {}  # since `begin`

    def begin(self, now: float) -> None:
        """Begin to count, at this time."""
        self._now = now
        self._changed = {}

    def keep(self, expiry: int) -> None:
        """Keep what was counted, and forget keys that no longer count. Raises MemoryError if there are too many."""
        present = int(self._now // expiry)
        while self._windows and next(iter(self._windows.values()))[0] < present - 1:
            self._windows.popitem(last=False)
        if len(self._windows) + sum(key not in self._windows for key in self._changed) > MOST_KEYS:
            raise MemoryError("too many clients or users at a time")
        for key, window in self._changed.items():
            self._windows[key] = window
            self._windows.move_to_end(key)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count an amount if that keeps within the limit."""
        previous, previous_left, current, _ = self.get_sliding_window(key, expiry)
        if previous * previous_left / expiry + current >= limit - amount + 1:
            return False
        self._changed[key] = (int(self._now // expiry), current + amount, previous)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the count of the previous window and the seconds that it counts for; the same of the present one."""
        present, into = divmod(self._now, expiry)
        number, count, before = self._windows.get(key, (0, 0, 0))
        current = count if number == present else 0
        previous = before if number == present else count if number == present - 1 else 0
        return previous, expiry - into, current, 2 * expiry - into

    def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002 -- there is one limit
        """Forget a key."""
        self.clear(key)

    # What the base class asks for, and other strategies use

    @property
    def base_exceptions(self) -> type[Exception]:
        """The errors of this storage."""
        return MemoryError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count an amount, whatever the limit is."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Return the count of the last window that a key was counted in."""
        return self._windows.get(key, (0, 0, 0))[1]

    def get_expiry(self, key: str) -> float:
        """Return when a key expires."""
        raise NotImplementedError

    def check(self) -> bool:
        """Tell whether the storage works."""
        return True

    def reset(self) -> int:
        """Forget all keys; return how many there were."""
        keys = len(self._windows)
        self._windows.clear()
        return keys

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._windows.pop(key, None)


def _limit(text: str | None, by: str, what: str, clock: Callable[[], float]) -> _Limit | None:
    if text is None:
        return None
    try:
        (item,) = parse_many(text)
    except ValueError:  # not that notation, or several limits
        item = None
    if item is None or not item.amount:
        raise UsageError(
            f"the rate limit {text} of a {by} is not a number per time, such as 1000/minute, 50/second or 20000/2hours"
        )
    return _Limit(item, by, what, clock)


def _network(host: str) -> str:
    """Return whom an address stands for: itself, or the network of an IPv6 address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped or ip_network((int(address), NETWORK_OF_A_CLIENT), strict=False))
