"""Fresh readings are told to whoever watches their user: once they are stored, in order, and to no one else."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.serving import FakeService
from tests.server.page.serving import events_of, page_over
from tests.sources import WAIT_SECONDS, MemorySource

from mockexport.heartrate.fresh import KEPT, FreshReadings
from mockexport.heartrate.ingest.limits import RateLimits
from mockexport.heartrate.ingest.routes import HeartRateRoutes
from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.readings import Readings, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

TIME = "2025-08-26T10:00:00.5Z"
SECONDS = 1_756_202_400.5


def batch(user: str, rates: list[float]) -> list[bytes]:
    number = len(rates)
    return [encode(Readings([user] * number, ["strap"] * number, [60_000_000 * at for at in range(number)], rates))]


def test_each_watcher_of_a_user_is_told_of_that_users_readings_alone() -> None:
    fresh = FreshReadings()
    with fresh.watch("anna") as one, fresh.watch("anna") as other, fresh.watch("bert") as third:
        fresh.tell(batch("anna", [61.0, 62.0]))
        fresh.tell(batch("carl", [90.0]))
        told = [{"time": 60.0 * at, "heart_rate": rate, "device_id": "strap"} for at, rate in enumerate((61.0, 62.0))]
        assert list(one) == list(other) == told
        assert list(third) == []
    fresh.tell(batch("anna", [63.0]))
    assert len(one) == 2


def test_one_of_two_watchers_may_leave_and_the_other_is_still_told() -> None:
    fresh = FreshReadings()
    with fresh.watch("anna") as staying:
        with fresh.watch("anna"):
            pass
        fresh.tell(batch("anna", [61.0]))
        assert len(staying) == 1


def test_what_a_slow_watcher_has_not_taken_is_bounded_and_the_newest_is_kept() -> None:
    fresh = FreshReadings()
    with fresh.watch("anna") as slow:
        fresh.tell(batch("anna", [float(rate) for rate in range(KEPT + 10)]))
        assert len(slow) == KEPT
        assert slow[-1]["heart_rate"] == KEPT + 9


def test_users_and_devices_whose_names_hold_each_other_or_need_escapes_are_told_apart() -> None:
    fresh = FreshReadings()
    names = ['an"na', "an\\na", "anna", "ann", "änna", "strap", "\u2028"]
    with ExitStack() as stack:
        watched = [stack.enter_context(fresh.watch(name)) for name in names]
        for number, name in enumerate(names):
            fresh.tell(batch(name, [60.0 + number]))
        assert [[one["heart_rate"] for one in told] for told in watched] == [[60.0 + n] for n in range(len(names))]


def test_what_can_not_be_told_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fresh = FreshReadings()
    with fresh.watch("anna") as told:
        fresh.tell([b'"anna" is not a batch'])
        fresh.tell(batch("anna", [61.0]))
    assert len(told) == 1
    assert "pages were not told of fresh readings" in caplog.text


def body(rate: float) -> dict[str, Any]:
    return {"user_id": "anna", "device_id": "strap", "timestamp": TIME, "heart_rate": rate}


def stream(events: Any) -> Generator[Any, None, None]:
    """Flatten events, each of which has the readings of a moment."""
    for event in events:
        yield from event


@pytest.mark.gate
def test_a_reading_comes_by_the_stream_of_its_user_once_it_is_stored(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    service: Any = FakeService()
    routes = HeartRateRoutes(service)
    source = MemorySource({"a": b""})
    with page_over(source, fresh=routes, routes=routes.router, token="secret") as (client, page):
        assert client.get("/page/heart-rate?user=anna").status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert client.get("/page/about").json()["heart_rate"] is True
        told: list[Any] = []
        done = threading.Event()

        def watch() -> None:
            with closing(stream(events_of(client, "/page/heart-rate?user=anna"))) as fresh:
                told.extend(next(fresh) for _ in range(2))
            done.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        eventually(lambda: page.streams == 1)
        for rate in (61.5, 62.5):
            assert client.post("/metrics/heart-rate", json=body(rate)).status_code == 202
        assert done.wait(WAIT_SECONDS)
        watcher.join()
    assert told == [{"time": SECONDS, "heart_rate": rate, "device_id": "strap"} for rate in (61.5, 62.5)]


def test_the_page_is_told_that_there_are_no_minutes_where_the_api_answers_404() -> None:
    service: Any = FakeService()
    routes = HeartRateRoutes(service)
    source = MemorySource({"a": b""})
    with page_over(source, fresh=routes, routes=routes.router, token="secret") as (client, _):
        asked = "user_id=anna&start=2025-08-26&end=2025-08-26"
        assert client.get(f"/page/minutes?{asked}").status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        answer = client.get(f"/page/minutes?{asked}")
        assert (answer.status_code, answer.json()) == (200, {"user_id": "anna", "data": [], "count": 0})
        assert answer.headers["cache-control"] == "no-store"
        assert client.get(f"/metrics/heart-rate?{asked}").status_code == 404
        assert client.get("/page/minutes?user_id=anna").status_code == 400


def test_the_queries_of_a_page_are_limited_as_any_other() -> None:
    service: Any = FakeService()
    routes = HeartRateRoutes(service, RateLimits(user="1/minute", clock=lambda: 0.0))
    with page_over(MemorySource({"a": b""}), fresh=routes, routes=routes.router) as (client, _):
        asked = "/page/minutes?user_id=anna&start=2025-08-26&end=2025-08-26"
        assert [client.get(asked).status_code for _ in range(2)] == [200, 429]


def test_a_reading_that_was_not_stored_is_told_to_no_one() -> None:
    def refuse(_: Readings) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(JournalError("the disk is full"))
        return future

    service: Any = FakeService(accepting=refuse)
    routes = HeartRateRoutes(service)
    with (
        page_over(MemorySource({"a": b""}), fresh=routes, routes=routes.router) as (client, _),
        service.fresh.watch("anna") as told,
    ):
        assert client.post("/metrics/heart-rate", json=body(61)).status_code == 503
        assert list(told) == []


@pytest.mark.parametrize("path", ["/page/heart-rate", "/page/heart-rate?user=anna"])
def test_without_readings_there_is_no_stream(path: str) -> None:
    with page_over(MemorySource({"a": b""})) as (client, _):
        assert client.get(path).status_code == 404
