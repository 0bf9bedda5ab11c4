"""Rate limits: what they let through, what they say when they don't, and that nothing passes when they fail."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH, ONE, FakeService, served
from tests.sources import WAIT_SECONDS

from mockexport.errors import UsageError
from mockexport.heartrate.ingest import limits as limits_module
from mockexport.heartrate.ingest.limits import LimitedError, RateLimits, TooManyAtOnceError
from mockexport.heartrate.load.client import HeartRateClient
from mockexport.heartrate.load.sender import send
from mockexport.heartrate.load.synthetic import Plan
from mockexport.heartrate.readings import Point, parse_timestamp
from mockexport.http.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MINUTE = 60.0
QUERY = {"user_id": "user_123", "start": "2024-01-15", "end": "2024-01-15"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def from_address(host: str) -> Request:
    return Request({"type": "http", "client": (host, 1), "headers": []})


def batch(*users: str) -> dict[str, Any]:
    return {"readings": [reading(user_id=user) for user in users]}


# What a limit lets through

steps = st.lists(
    st.tuples(st.floats(0, 90), st.dictionaries(st.sampled_from("abc"), st.integers(1, 6), min_size=1)), max_size=40
)


@given(steps)
def test_no_window_has_more_than_the_limit_a_batch_counts_whole_or_not_at_all_and_the_wait_is_exact(
    steps: list[tuple[float, dict[str, int]]],
) -> None:
    clock = Clock()
    limits = RateLimits(user="10/minute", clock=clock)
    counted: defaultdict[tuple[str, int], int] = defaultdict(int)

    def weight(user: str) -> float:
        window, into = divmod(clock.now, MINUTE)
        return counted[user, int(window)] + counted[user, int(window) - 1] * (1 - into / MINUTE)

    def refusal(users: dict[str, int]) -> LimitedError | None:
        try:
            limits.admit_readings([user for user, number in users.items() for _ in range(number)])
        except LimitedError as error:
            return error
        return None

    for seconds, users in steps:
        clock.now += seconds
        fits = all(weight(user) + number < 11 for user, number in users.items())
        refused = refusal(users)
        assert (refused is None) == fits
        if refused is None:
            for user, number in users.items():
                counted[user, int(clock.now // MINUTE)] += number
            continue
        assert (refused.by, refused.seconds <= 2 * MINUTE + 1) == ("user", True)
        before, clock.now = clock.now, clock.now + refused.seconds
        assert all(weight(user) + number < 11 for user, number in users.items()), "it would be let through then"
        clock.now -= 1.001
        assert any(weight(user) + number >= 11 for user, number in users.items()), "and not a second earlier"
        clock.now = before
    assert all(number <= 10 for number in counted.values())


def test_more_of_one_user_than_the_limit_ever_lets_through_is_not_to_be_sent_again(clock: Clock) -> None:
    limits = RateLimits(user="10/minute", clock=clock)
    with pytest.raises(TooManyAtOnceError, match=r"has 11 of one user, and the limit is 10 per minute: send smaller"):
        limits.admit_readings(["a"] * 11 + ["b"])
    limits.admit_readings(["a"] * 10 + ["b"])


def test_addresses_are_clients_and_an_ipv6_network_is_one_client(clock: Clock) -> None:
    limits = RateLimits(client="1/hour", clock=clock)
    for host in ("127.0.0.1", "127.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "::ffff:127.0.0.3"):
        limits.admit_request(from_address(host))
    for host in ("127.0.0.1", "2001:db8::2", "::ffff:127.0.0.1"):
        with pytest.raises(LimitedError, match="too many requests of this client; the limit is 1 per hour"):
            limits.admit_request(from_address(host))


def test_with_a_token_all_who_hold_it_are_one_client(clock: Clock) -> None:
    limits = RateLimits(client="1/hour", by_token=True, clock=clock)
    limits.admit_request(from_address("127.0.0.1"))
    with pytest.raises(LimitedError):
        limits.admit_request(from_address("127.0.0.2"))


def test_no_more_keys_are_kept_than_fit_and_those_that_are_known_go_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "MOST_KEYS", 3)
    limits = RateLimits(user="10/minute", clock=clock)
    limits.admit_readings("abc")
    with pytest.raises(MemoryError):
        limits.admit_readings("ad")
    limits.admit_readings("abc")
    clock.now += 2 * MINUTE
    limits.admit_readings("def")


@pytest.mark.parametrize("text", ["", "10", "0/minute", "-1/minute", "10/min", "1.5/minute", "1/second;9/minute"])
def test_what_is_no_limit_is_told(text: str) -> None:
    with pytest.raises(
        UsageError, match=rf"the rate limit {text} of a client is not a number per time, such as 1000/minute"
    ):
        RateLimits(client=text)


# Over HTTP


@pytest.fixture
def service() -> FakeService:
    return FakeService(answering=lambda _: [Point(parse_timestamp("2024-01-15T10:00:00Z"), 75.0, "device_a")])


@pytest.fixture
def limited(service: FakeService, clock: Clock) -> Iterator[httpx.Client]:
    """A server with 3 readings and 3 queries a minute and user, and 20 requests a minute and client."""
    with served(service, limits=RateLimits("20/minute", "3/minute", clock=clock)) as client:
        yield client


def test_a_batch_beyond_a_users_limit_is_refused_whole_with_429_and_when_to_retry(
    limited: httpx.Client, service: FakeService, clock: Clock
) -> None:
    assert limited.post(BATCH, json=batch("a", "a", "b")).status_code == 202
    refused = limited.post(BATCH, json=batch("b", "a", "a"))
    assert (refused.status_code, refused.json()) == (
        429,
        {"detail": "too many readings of this user; the limit is 3 per minute"},
    )
    assert [len(readings) for readings in service.accepted] == [3]
    clock.now += int(refused.headers["Retry-After"])
    assert limited.post(BATCH, json=batch("b", "a", "a")).status_code == 202


def test_more_of_one_user_in_a_batch_than_ever_pass_is_413(limited: httpx.Client, service: FakeService) -> None:
    refused = limited.post(BATCH, json=batch("a", "a", "a", "a"))
    assert (refused.status_code, "Retry-After" in refused.headers) == (413, False)
    assert refused.json()["detail"].startswith("readings: has 4 of one user, and the limit is 3 per minute")
    assert not service.accepted


def test_single_readings_count_and_queries_count_apart(limited: httpx.Client) -> None:
    assert [limited.post(ONE, json=reading()).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert [limited.get(ONE, params=QUERY).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert limited.head(ONE, params=QUERY).status_code == 429
    assert limited.get(ONE, params=QUERY | {"user_id": "other"}).status_code == 200


def test_any_request_counts_for_its_client_before_its_body_is_read_but_those_of_operators_do_not(
    limited: httpx.Client, service: FakeService
) -> None:
    invalid = [limited.post(path, content=b"{}").status_code for path in (ONE, BATCH, f"/v1{ONE}", f"/v1{BATCH}")]
    assert invalid == [400] * 4
    assert [limited.get(ONE).status_code for _ in range(16)] == [400] * 16
    for refused in (limited.post(BATCH, json=batch("a")), limited.get(ONE, params=QUERY)):
        assert refused.status_code == 429
        assert refused.json() == {"detail": "too many requests of this client; the limit is 20 per minute"}
    assert not service.accepted
    assert limited.get("/health").status_code == 200
    metrics = limited.get("/metrics").text.splitlines()
    assert 'mockexport_heartrate_limited_total{by="client"} 2.0' in metrics
    assert 'mockexport_heartrate_limited_total{by="user"} 0.0' in metrics
    assert 'mockexport_heartrate_answers_total{route="batch",status="429"} 1.0' in metrics


@pytest.mark.parametrize("fails", ["client", "user"])
def test_when_the_limits_fail_nothing_passes(service: FakeService, fails: str) -> None:
    def broken() -> float:
        raise OSError("no clock for user_123")

    limits = RateLimits(*(("9/minute", None) if fails == "client" else (None, "9/minute")), clock=broken)
    with served(service, limits=limits) as client:
        for refused in (client.post(ONE, json=reading()), client.get(ONE, params=QUERY)):
            assert (refused.status_code, refused.json()) == (503, {"detail": "the rate limits can't be checked"})
            assert refused.headers["Retry-After"] == "1"
        assert client.get("/health").status_code == 200
    assert not service.accepted


@pytest.mark.gate
def test_the_sender_waits_as_long_as_it_is_told_and_loses_nothing(service: FakeService) -> None:
    looks = count(-4)

    def clock() -> float:
        """The first five posts come within one second, whenever they come; each one that is tried again later."""
        return 1_000_000.0 + 2 * max(0, next(looks))

    with served(service, limits=RateLimits("4/second", clock=clock)) as web:
        retries = Retries(100, first_wait=0.01)
        with closing(HeartRateClient(str(web.base_url), timeout=WAIT_SECONDS, retries=retries)) as client:
            summary = send(client, Plan(readings=50, batch=10, clients=5))
    assert summary.accepted == 50
    assert summary.tried_again > 0
