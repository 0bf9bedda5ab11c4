"""The load generator: the same seed sends the same, and its summary tells what became of all of it."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
import pytest
from tests.heartrate.serving import BATCH, ONE, FakeService, done, served
from tests.pairing import pairs
from tests.scripted_http import http, json, refusing
from tests.sources import WAIT_SECONDS

from mockexport.errors import NotAuthorisedError, UnreachableError, UntrustedDataError, UsageError
from mockexport.heartrate.ingest.validation import read_batch
from mockexport.heartrate.journal import JournalFullError
from mockexport.heartrate.load.client import HeartRateClient
from mockexport.heartrate.load.sender import Sent, send
from mockexport.heartrate.load.synthetic import Plan, posts
from mockexport.heartrate.readings import parse_timestamp
from mockexport.http.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.scripted_http import ScriptedServer

    from mockexport.heartrate.readings import Readings

SMALL = Plan(readings=3000, batch=100)


def keys(readings: Readings) -> list[tuple[str, str, int]]:
    return list(zip(readings.users, readings.devices, readings.times, strict=True))


def all_keys(plan: Plan) -> list[tuple[str, str, int]]:
    return [key for post in posts(plan) for key in keys(read_batch(post.body).readings)]


def test_the_same_seed_makes_the_same_posts_and_another_seed_others() -> None:
    assert list(posts(SMALL)) == list(posts(SMALL))
    assert list(posts(SMALL)) != list(posts(replace(SMALL, seed=1)))


def test_ten_thousand_readings_are_made_when_nothing_is_said() -> None:
    assert [post.readings for post in posts(Plan())] == [1000] * 10


def test_a_readings_number_stands_for_one_user_device_and_instant() -> None:
    numbers = [number for post in posts(SMALL) for number in post.numbers]
    found = all_keys(SMALL)
    assert len(found) == len(numbers) == 3000
    assert len(dict(zip(numbers, found, strict=True))) == len(set(numbers)) == len(set(found))


def test_several_devices_of_several_users_report_out_of_order_and_some_readings_twice() -> None:
    found = all_keys(SMALL)
    assert {user for user, _, _ in found} == {f"user_{number:03}" for number in range(1, 11)}
    assert {device for _, device, _ in found} == {"device_a", "device_b", "device_c"}
    assert 0.03 < 1 - len(set(found)) / len(found) < 0.07
    times = [time for _, _, time in found]
    assert sum(later < time for time, later in itertools.pairwise(times)) > len(times) / 3
    texts = {reading["timestamp"][19:] for post in posts(SMALL) for reading in orjson.loads(post.body)["readings"]}
    assert {"", "Z", "+02:00", "-05:00", "+05:30"} <= texts


def test_readings_begin_where_they_are_to_begin_and_some_come_late() -> None:
    start = datetime(2024, 2, 29, 23, 59, tzinfo=UTC)
    times = [time for _, _, time in all_keys(replace(SMALL, start=start))]
    first = parse_timestamp("2024-02-29T23:59:00Z")
    assert min(times) in range(first, first + 20_000_000)
    late = max(max(times[:at]) - time for at, time in enumerate(times) if at)
    assert late > 20 * 60 * 1_000_000


def test_users_devices_and_singles_are_as_many_as_wanted() -> None:
    made = list(posts(Plan(readings=200, users=2, devices=28, singles=True)))
    readings = [orjson.loads(post.body) for post in made]
    assert [post.readings for post in made] == [1] * 200
    assert {reading["user_id"] for reading in readings} == {"user_001", "user_002"}
    assert {"device_a", "device_z", "device_aa", "device_ab"} <= {reading["device_id"] for reading in readings}


def test_whole_numbers_alone_are_sent_if_wanted_and_nothing_else_changes() -> None:
    made, whole = (list(posts(replace(SMALL, whole=only))) for only in (False, True))
    rates = [[r["heart_rate"] for post in some for r in orjson.loads(post.body)["readings"]] for some in (made, whole)]
    assert {type(rate) for rate in rates[0]} == {int, float}
    assert {type(rate) for rate in rates[1]} == {int}
    assert [post.numbers for post in made] == [post.numbers for post in whole]


@pytest.mark.gate
def test_invalid_readings_are_as_many_as_wanted_and_have_no_number() -> None:
    plan = replace(SMALL, invalid=0.1)
    rejected = {kind["reason"].partition(":")[0] for post in posts(plan) for kind in read_batch(post.body).rejected}
    assert rejected == {"user_id", "device_id", "timestamp", "heart_rate"}
    assert 0.07 < 1 - sum(len(post.numbers) for post in posts(plan)) / 3000 < 0.13


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[HeartRateClient]:
    with served(service) as web, closing(client_of(str(web.base_url))) as client:
        yield client


def client_of(url: str, **options: Any) -> HeartRateClient:
    return HeartRateClient(url, timeout=WAIT_SECONDS, retries=Retries(3, first_wait=0.01), **options)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("singles", "invalid"), pairs({"batches": False, "singles": True}, {"some invalid": 0.1, "all valid": 0.0})
)
def test_the_summary_is_what_the_service_was_given(
    client: HeartRateClient, service: FakeService, singles: bool, invalid: float
) -> None:
    plan = Plan(readings=300, batch=100, singles=singles, invalid=invalid, duplicates=0.2)
    summary = send(client, plan)
    given = [key for readings in service.accepted for key in keys(readings)]
    assert (summary.sent, summary.accepted, summary.rejected) == (300, len(given), 300 - len(given))
    assert (summary.distinct, summary.tried_again) == (len(set(given)), 0)
    assert summary.distinct < summary.accepted
    assert (summary.rejected > 0) == (invalid > 0)
    assert summary.ack_p50_ms is not None
    assert summary.ack_p99_ms is not None
    assert 0 < summary.ack_p50_ms <= summary.ack_p99_ms < summary.seconds * 1000


@pytest.mark.gate
def test_what_was_refused_with_503_is_sent_again(client: HeartRateClient, service: FakeService) -> None:
    refusals = iter([True] * 5)

    def sometimes(_: Readings) -> Future[None]:
        if next(refusals, False):
            raise JournalFullError("the journal is full", 1)
        return done()

    service.accepting = sometimes
    summary = send(client, replace(SMALL, clients=8))
    assert (summary.accepted, summary.tried_again) == (3000, 5)


def test_what_was_cut_is_sent_again(http_server: ScriptedServer) -> None:
    whole = http(orjson.dumps({"status": "accepted", "accepted": 100, "rejected": 0, "total": 100}), 202)
    answers = iter([whole[:-20], whole])
    http_server.answers[BATCH] = lambda _, connection: connection.sendall(next(answers))
    with closing(client_of(http_server.url)) as client:
        summary = send(client, Plan(readings=100, batch=100, clients=1))
    assert (summary.accepted, summary.tried_again) == (100, 1)


def test_a_server_that_stays_away_is_told() -> None:
    with (
        refusing() as url,
        closing(client_of(url)) as client,
        pytest.raises(UnreachableError, match="can't be reached"),
    ):
        send(client, SMALL)


def test_a_server_that_accepts_less_than_was_valid_is_not_trusted(http_server: ScriptedServer) -> None:
    body = orjson.dumps({"status": "accepted", "accepted": 99, "rejected": 1, "total": 100})
    http_server.answers[BATCH] = http(body, 202)
    with closing(client_of(http_server.url)) as client, pytest.raises(UntrustedDataError, match="accepted 99 of 100"):
        send(client, Plan(readings=100, batch=100, clients=1))


@pytest.mark.gate
def test_a_token_is_sent_and_its_absence_told(service: FakeService) -> None:
    with served(service, token="secret") as web:
        with closing(client_of(str(web.base_url), token="secret")) as client:
            assert send(client, SMALL).accepted == 3000
        with (
            closing(client_of(str(web.base_url))) as client,
            pytest.raises(NotAuthorisedError, match="token takes a bearer token"),
        ):
            send(client, SMALL)


@pytest.mark.gate
def test_seconds_end_it_and_a_rate_is_kept_to(client: HeartRateClient) -> None:
    summary = send(client, Plan(readings=None, seconds=1.0, batch=10, rate=1000, burst=100))
    assert 0 < summary.sent <= 1000
    assert summary.seconds < WAIT_SECONDS


@pytest.mark.gate
def test_progress_is_told_while_it_goes_on(client: HeartRateClient, service: FakeService) -> None:
    told: list[int] = []
    go_on = threading.Event()

    def hold(_: Readings) -> Future[None]:
        return done() if go_on.is_set() else done(JournalFullError("wait", 1))

    def look(sent: Sent) -> None:
        told.append(sent.sent)
        go_on.set()

    service.accepting = hold
    send(client, SMALL, look)
    assert told[-1] == 3000


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "mock", "http://", "http://[::1"])
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        HeartRateClient(url)


def test_a_url_that_holds_a_password_is_refused_as_it_is_for_a_source() -> None:
    with pytest.raises(UsageError, match="must not contain a password"):
        HeartRateClient("http://user:secret@127.0.0.1:1")


def test_an_answer_that_makes_no_sense_is_told(http_server: ScriptedServer) -> None:
    instants = ("2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z")
    http_server.answers[f"{ONE}?" + urlencode({"user_id": "u", "start": instants[0], "end": instants[1]})] = json({})
    with (
        closing(client_of(http_server.url)) as client,
        pytest.raises(UntrustedDataError, match="sent an invalid response"),
    ):
        client.query("u", *instants)
