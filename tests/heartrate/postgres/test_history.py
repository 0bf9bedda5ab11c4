"""The checker of histories: it finds each kind of fault, and nothing where there is none."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.heartrate.postgres.history import History, Outcome, Post, Query, Value, violations
from tests.seeds import examples

ONE, TWO, THREE = (70.5, "device_a"), (71.5, "device_a"), (72.5, "device_a")
OK, REFUSED, UNKNOWN = Outcome


def post(began: float, ended: float, value: Value = ONE, outcome: Outcome = OK, minute: int = 0) -> Post:
    return Post("n1", began, ended, outcome, {("u", minute): value})


def query(began: float, ended: float, value: Value | None = None, node: str = "n2") -> Query:
    return Query(node, began, ended, "u", 0, 10, {} if value is None else {0: value})


def found(*operations: Post | Query, forgiven: float = -math.inf) -> list[str]:
    posts = [one for one in operations if isinstance(one, Post)]
    queries = [one for one in operations if isinstance(one, Query)]
    return violations(History(posts, queries), forgiven)


FINE = {
    "nothing": [],
    "seen after its ack": [post(1, 2), query(3, 4, ONE)],
    "seen before its ack, which is on its way": [post(1, 4), query(2, 3, ONE), query(5, 6, ONE)],
    "not seen before its ack": [post(1, 4), query(2, 3), query(5, 6, ONE)],
    "not seen by a query that began before its ack": [post(1, 3), query(2, 4), query(5, 6, ONE)],
    "seen by one of two queries at the same time": [post(1, 6), query(2, 5, ONE), query(3, 4), query(7, 8, ONE)],
    "refused and absent": [post(1, 2, outcome=REFUSED), query(3, 4)],
    "refused and there": [post(1, 2, outcome=REFUSED), query(3, 4, ONE), query(5, 6, ONE)],
    "unknown and there later": [post(1, 2, outcome=UNKNOWN), query(3, 4), query(5, 6, ONE)],
    "sent again, and the last one stands": [post(1, 2), post(3, 4, TWO), query(5, 6, TWO)],
    "sent at the same time, and either stands": [post(1, 4), post(2, 3, TWO), query(5, 6, ONE)],
    "an unknown one that arrives after the next": [
        post(1, 2, outcome=UNKNOWN), post(3, 4, TWO), query(5, 6, TWO), query(7, 8, ONE),
    ],
    "of another minute": [post(1, 2, minute=11), query(3, 4)],
    "of a minute at the end": [Post("n1", 1, 2, OK, {("u", 10): ONE}), Query("n1", 3, 4, "u", 10, 10, {10: ONE})],
}  # fmt: skip
FAULTS = {
    "acknowledged and lost": ("lost", [post(1, 2), query(3, 4)]),
    "seen and lost": ("lost", [post(1, 2, outcome=UNKNOWN), query(3, 4, ONE), query(5, 6)]),
    "seen on one node and not on the next": (
        "lost", [post(1, 9), query(2, 3, ONE, "n1"), query(4, 5, None, "n2")],
    ),
    "refused, seen and lost": ("lost", [post(1, 2, outcome=REFUSED), query(3, 4, ONE), query(5, 6)]),
    "lost for a while": ("lost", [post(1, 2), query(3, 4, ONE), query(5, 6), query(7, 8, ONE)]),
    "never sent": ("invented", [query(3, 4, ONE)]),
    "a value that was never sent": ("invented", [post(1, 2), query(3, 4, TWO)]),
    "seen before it was sent": ("invented", [query(1, 2, ONE), post(3, 4)]),
    "half of a minute": ("invented", [post(1, 2), query(3, 4, (70.0, "device_a"))]),
    "half of a minute, of which another device is left": ("invented", [post(1, 2), query(3, 4, (70.5, "device_b"))]),
    "the first one stands": ("gone back", [post(1, 2), post(3, 4, TWO), query(5, 6, ONE)]),
    "back from the second to the first": (
        "gone back", [post(1, 9), post(1, 9, TWO), query(2, 3, ONE), query(4, 5, TWO), query(6, 7, ONE)],
    ),
    "an unknown one twice": (
        "gone back",
        [post(1, 2, outcome=UNKNOWN), post(3, 4, TWO), query(5, 6, ONE), query(7, 8, TWO), query(9, 10, ONE)],
    ),
    "another order on another node": (
        "gone back",
        [post(1, 9), post(1, 9, TWO), query(2, 3, ONE, "n1"), query(4, 5, TWO, "n1"), query(6, 7, ONE, "n2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("operations", FINE.values(), ids=FINE)
def test_what_can_be_is_no_violation(operations: list[Post | Query]) -> None:
    assert found(*operations) == []


@pytest.mark.parametrize(("kind", "operations"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_is_told_by_its_kind(kind: str, operations: list[Post | Query]) -> None:
    told = found(*operations)
    assert told
    assert {line.partition(":")[0] for line in told} == {kind}


def test_what_was_never_acknowledged_may_be_lost_where_that_is_forgiven_and_nothing_else_may() -> None:
    lost: list[Post | Query] = [post(1, 2, outcome=REFUSED), query(3, 4, ONE), query(5, 6)]
    assert found(*lost, forgiven=3.5) == []
    assert found(*lost, forgiven=2.5) != []
    assert found(post(1, 2), *lost[1:], forgiven=3.5) != []


def test_each_minute_is_judged_by_itself() -> None:
    whole = Post("n1", 1, 2, OK, {("u", minute): ONE for minute in range(5)})
    told = found(whole, Query("n2", 3, 4, "u", 0, 3, {0: ONE, 2: ONE}))
    assert [line.split(" is ")[0] for line in told] == ["lost: minute 1 of u", "lost: minute 3 of u"]


def explained(operations: list[Post | Query]) -> bool:
    """Whether some order of the operations explains them, by trying all."""
    optional = [one for one in operations if isinstance(one, Post) and one.outcome is not OK]
    for dropped in range(1 << len(optional)):
        absent = [one for number, one in enumerate(optional) if dropped >> number & 1]
        if any(_runs(order) for order in permutations([one for one in operations if one not in absent])):
            return True
    return False


def _runs(order: tuple[Post | Query, ...]) -> bool:
    """Whether this order keeps to the times, and each query sees what was sent last."""
    value = None
    for number, one in enumerate(order):
        if any(_over(later) < one.began for later in order[number + 1 :]):
            return False
        if isinstance(one, Post):
            value = one.values["u", 0]
        elif one.seen.get(0) != value:
            return False
    return True


def _over(one: Post | Query) -> float:
    return float("inf") if isinstance(one, Post) and one.outcome is not OK else one.ended


spans = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda span: (span[0], span[0] + span[1]))


@examples(150, 2000)
@given(
    st.lists(st.tuples(spans, st.sampled_from([OK, OK, UNKNOWN])), max_size=3),
    st.lists(st.tuples(spans, st.sampled_from([None, ONE, TWO, THREE])), max_size=3),
)
def test_a_history_is_well_if_and_only_if_some_order_of_its_operations_explains_it(
    sent: list[tuple[tuple[int, int], Outcome]], asked: list[tuple[tuple[int, int], Value | None]]
) -> None:
    posts = [post(*span, value, outcome) for (span, outcome), value in zip(sent, (ONE, TWO, THREE), strict=False)]
    operations: list[Post | Query] = [*posts, *(query(*span, value) for span, value in asked)]
    assert (found(*operations) == []) == explained(operations)
