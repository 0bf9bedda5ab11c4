"""What many clients of several nodes saw, and whether a service that keeps its word can have shown that.

A minute of a user is what is looked at: a post gives minutes their values, and a query shows the values of some. No two
posts give one minute the same value, so a value tells which post it comes from; and a value is an average of several
readings, so that half of them, or one of them twice, would be another value, which nobody sent.

The rule is that each minute behaves like a variable that is set at one instant between the begin and the end of a post
(linearizability: Herlihy and Wing, 1990). For values that tell their posts, two of them at a time are enough to decide
that (Gibbons and Korach, 1997): they must not each be older than the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["History", "Minute", "Outcome", "Post", "Query", "Value", "violations"]

Minute = tuple[str, int]
"""A user, and a number of a minute."""
Value = tuple[float, str]
"""A heart rate and a device, as a query shows them."""


class Outcome(StrEnum):
    """What the sender of a post was told."""

    OK = "ok"
    """202: it must be there from now on."""
    REFUSED = "refused"
    """503, or no connection: it may be there all the same, now or later."""
    UNKNOWN = "unknown"
    """Nothing: likewise."""


@dataclass(frozen=True)
class Post:
    """A post to a node. Times are seconds of one clock."""

    node: str
    began: float
    ended: float
    outcome: Outcome
    values: Mapping[Minute, Value]

    def __str__(self) -> str:
        return f"post to {self.node} at {self.began:.3f}-{self.ended:.3f} ({self.outcome})"


@dataclass(frozen=True)
class Query:
    """A query that a node answered with the minutes `seen`, of all those of a user from `first` to `last`."""

    node: str
    began: float
    ended: float
    user: str
    first: int
    last: int
    seen: Mapping[int, Value]

    def __str__(self) -> str:
        return f"query of {self.node} at {self.began:.3f}-{self.ended:.3f}"


@dataclass
class History:
    """All posts and queries of a run. Threads may append at the same time."""

    posts: list[Post] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    def count(self, outcome: Outcome) -> int:
        """How many posts ended so."""
        return sum(post.outcome is outcome for post in self.posts)


def violations(history: History, forgiven: float = -math.inf) -> list[str]:
    """Return what the service must not have shown; nothing, if all is well.

    What was never acknowledged may have been shown until the time `forgiven`, and lost again.
    """
    values = _sent(history)
    return [*_look(history, values, forgiven), *_judge(values)]


@dataclass
class _Value:
    """A value of a minute: the earliest that is known of it, and the latest.

    `settled` is when it was there for sure, `settled_by` why. `current` is when it may not have been replaced yet.
    """

    sent: Post | None  # None for no value at all, with which each minute begins
    settled: float
    settled_by: Post | Query | None
    current: float
    current_by: Post | Query | None

    @property
    def is_certain(self) -> bool:
        """Whether it must be there once it was acknowledged; or it is no value at all."""
        return self.sent is None or self.sent.outcome is Outcome.OK

    def was_seen(self, query: Query) -> None:
        if query.ended < self.settled:
            self.settled, self.settled_by = query.ended, query
        if query.began > self.current:
            self.current, self.current_by = query.began, query

    def precedes(self, other: _Value) -> bool:
        """It was there before something of the other one began, so it is the older one."""
        return self.settled < other.current


_Values = dict[int, dict[Value | None, _Value]]


def _sent(history: History) -> dict[str, _Values]:
    """By user and minute: no value, and each that a post gave it."""
    found: dict[str, _Values] = defaultdict(dict)
    for post in history.posts:
        for (user, minute), value in post.values.items():
            of_minute = found[user].setdefault(minute, {None: _Value(None, -math.inf, None, -math.inf, None)})
            assert value not in of_minute, f"two posts gave minute {minute} of {user} the value {value}"
            settled = post.ended if post.outcome is Outcome.OK else math.inf
            of_minute[value] = _Value(post, settled, post, post.began, post)
    return found


def _look(history: History, values: dict[str, _Values], forgiven: float) -> Iterator[str]:
    """Note when each value was seen; yield what was seen and had not been sent."""
    for query in history.queries:
        of_user = values.get(query.user, {})
        for minute in query.seen.keys() - of_user.keys():
            yield f"invented: {query} shows minute {minute} of {query.user}, which nobody sent"
        for minute in range(query.first, query.last + 1) if len(of_user) > query.last - query.first else of_user:
            if minute not in of_user or not query.first <= minute <= query.last:
                continue
            value = query.seen.get(minute)
            known = of_user[minute].get(value)
            if known is None:
                yield (
                    f"invented: {query} shows {value} for minute {minute} of {query.user}, "
                    "which nobody sent: half of a minute, a reading twice, or a mixture"
                )
            elif known.sent and query.ended < known.sent.began:
                yield f"invented: {query} shows minute {minute} of {query.user} before the {known.sent}"
            elif known.is_certain or query.began > forgiven:
                known.was_seen(query)


def _judge(values: dict[str, _Values]) -> Iterator[str]:
    """Yield each two values of a minute of which each is older than the other."""
    for user, of_user in values.items():
        for minute, of_minute in of_user.items():
            for one, other in combinations(of_minute.values(), 2):
                if one.precedes(other) and other.precedes(one):
                    yield _told(f"minute {minute} of {user}", one, other)


def _told(minute: str, one: _Value, other: _Value) -> str:
    if one.sent is None:
        return f"lost: {minute} is missing in the {one.current_by}, after the {other.settled_by}"
    older, newer = sorted((one, other), key=lambda value: value.sent.began if value.sent else 0)
    return (
        f"gone back: {minute} has the value of the {older.sent} in the {older.current_by}, "
        f"after that of the {newer.sent} in the {newer.settled_by}"
    )
