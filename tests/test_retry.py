"""When a request is tried again, how often, and after how long a wait."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scripted_http import Request, ScriptedServer, http, json
from tests.sources import WAIT_SECONDS

from mockexport.errors import MockExportError, UnreachableError, UntrustedDataError
from mockexport.http.retry import Retries, RetryableError, parse_retry_after, schedule
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

FAILURE = UnreachableError("not today")
EXPORTS = json({"data": {"export_ids": ["demo"]}})
SOON = Retries(3, WAIT_SECONDS, first_wait=0.001)


def tries_of(retries: Retries, *, wait: float | None = None, budget: float | None = None) -> int:
    """How often work that always fails is tried."""
    tries = itertools.count()

    def fail() -> None:
        next(tries)
        raise RetryableError(FAILURE, wait)

    with pytest.raises(RetryableError) as caught:
        schedule(retries, threading.Event(), budget)(fail)
    assert caught.value.error is FAILURE
    return next(tries)


def waits_of(schedule: tenacity.Retrying, *, wait: float | None = None) -> list[float]:
    """The waits between the tries of work that always fails, without waiting."""
    waits: list[float] = []

    def fail() -> None:
        raise RetryableError(FAILURE, wait)

    schedule.sleep = waits.append
    with pytest.raises(RetryableError):
        schedule(fail)
    return waits


@pytest.mark.parametrize("attempts", [0, 1, 4])
def test_there_are_as_many_tries_after_the_first_one_as_are_allowed(attempts: int) -> None:
    assert tries_of(Retries(attempts, first_wait=0.001)) == 1 + attempts


def test_what_works_is_done_once_and_what_fails_otherwise_is_not_tried_again() -> None:
    assert schedule(SOON, threading.Event())(lambda: 7) == 7
    tries = itertools.count()

    def fail() -> None:
        next(tries)
        raise FAILURE

    with pytest.raises(UnreachableError):
        schedule(SOON, threading.Event())(fail)
    assert next(tries) == 1


def test_waits_are_drawn_from_zero_to_a_bound_that_doubles_up_to_half_a_minute() -> None:
    runs = [waits_of(schedule(Retries(10, 1e9), threading.Event())) for _ in range(300)]
    for number, drawn in enumerate(zip(*runs, strict=True)):
        bound = min(30.0, 0.5 * 2**number)
        assert 0 <= min(drawn) < bound / 10  # full jitter: all of the room is used
        assert bound * 0.9 < max(drawn) <= bound


def test_no_wait_goes_beyond_the_budget() -> None:
    assert tries_of(Retries(5, budget=0)) == 1
    assert tries_of(SOON, budget=-1) == 1  # all of it was used up before
    started = time.monotonic()
    assert tries_of(Retries(1000, budget=0.2, first_wait=0.01)) > 1
    assert time.monotonic() - started < WAIT_SECONDS  # a thousand waits would take hours


@pytest.mark.parametrize("wait", [0.06, 0.12])
def test_a_wait_that_the_server_names_is_obeyed(wait: float) -> None:
    assert waits_of(schedule(Retries(2), threading.Event()), wait=wait) == [wait] * 2
    started = time.monotonic()
    assert tries_of(Retries(2), wait=wait) == 3
    assert time.monotonic() - started >= 2 * wait


def test_a_named_wait_beyond_the_budget_is_not_begun() -> None:
    started = time.monotonic()
    assert tries_of(Retries(5, budget=60), wait=61) == 1
    assert time.monotonic() - started < WAIT_SECONDS


def test_closing_ends_the_wait_at_once_and_nothing_is_tried_again() -> None:
    closed = threading.Event()
    tries: list[float] = []

    def fail() -> None:
        tries.append(time.monotonic())
        threading.Timer(0.05, closed.set).start()
        raise RetryableError(FAILURE, WAIT_SECONDS)

    with pytest.raises(RetryableError):
        schedule(Retries(5), closed)(fail)
    assert time.monotonic() - tries[0] < WAIT_SECONDS / 10
    assert len(tries) <= 2  # the wait is over, and the next failure the last


NOW = datetime(2025, 8, 26, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Tue, 26 Aug 2025 12:00:30 GMT", 30),
        ("Tuesday, 26-Aug-25 12:00:30 GMT", 30),
        ("Tue Aug 26 12:00:30 2025", 30),
        ("Tue, 26 Aug 2025 11:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0661", None),
        ("Tue, 99 Aug 2025 12:00:30 GMT", None),
        ("9" * 400, float("inf")),
        ("9" * 5000, float("inf")),
        ("Fri, 26 Aug 10000000000 12:00:30 GMT", None),
        ("Fri, 26 Aug 2025 12:00:30 +9999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_makes_no_sense(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


DATES = st.from_regex(
    r"(Fri, )?-?[0-9]{1,12} (Aug|Jan|x) -?[0-9]{1,30}( [0-9]{1,30}:[0-9]{2}(:[0-9]{2})?)?( [-+]?[0-9]{0,9}| GMT)?"
)


@given(st.text() | DATES | st.from_regex(r"[0-9]{1,6000}"))
def test_any_retry_after_is_no_less_than_zero_or_makes_no_sense(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("wait", [float("inf"), 1e300])
def test_a_wait_without_end_is_begun_where_the_budget_has_none_and_can_be_ended(wait: float) -> None:
    closed = threading.Event()

    def fail() -> None:
        threading.Timer(0.05, closed.set).start()
        raise RetryableError(FAILURE, wait)

    with pytest.raises(RetryableError):
        schedule(Retries(5, float("inf")), closed)(fail)


def in_turn(*answers: bytes) -> Callable[[Request, socket.socket], None]:
    """Answer each request by the next of these, and all others by the last."""
    left = iter(answers)

    def answer(_request: Request, connection: socket.socket) -> None:
        connection.sendall(next(left, answers[-1]))

    return answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_is_tried_again(http_server: ScriptedServer, status: int) -> None:
    http_server.answers["/api/export"] = in_turn(http(status=status), http(status=status), EXPORTS)
    with closing(HttpSource(http_server.url, retries=SOON)) as source:
        assert source.exports() == ["demo"]
    assert len(http_server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 501, 505])
def test_a_status_that_stays_is_not(http_server: ScriptedServer, status: int) -> None:
    http_server.answers["/api/export"] = in_turn(http(status=status), EXPORTS)
    with closing(HttpSource(http_server.url, retries=SOON)) as source, pytest.raises(MockExportError):
        source.exports()
    assert len(http_server.requests) == 1


@pytest.mark.parametrize("attempts", [0, 2])
def test_a_server_that_stays_busy_sees_as_many_requests_as_are_allowed(
    http_server: ScriptedServer, attempts: int
) -> None:
    http_server.answers["/api/export"] = http(status=503)
    retries = Retries(attempts, first_wait=0.001)
    with closing(HttpSource(http_server.url, retries=retries)) as source, pytest.raises(UnreachableError, match="503"):
        source.exports()
    assert len(http_server.requests) == 1 + attempts


@pytest.mark.gate
@pytest.mark.parametrize(
    "after", ["1", "garbage", "Tue, 26 Aug 2025 12:00:30 GMT", "Fri, 26 Aug 10000000000 12:00:30 GMT"]
)
def test_retry_after_is_obeyed_where_it_makes_sense(
    http_server: ScriptedServer, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    http_server.answers["/api/export"] = in_turn(http(status=429, Retry_After=after), EXPORTS)
    with caplog.at_level(logging.INFO, "mockexport"), closing(HttpSource(http_server.url, retries=SOON)) as source:
        started = time.monotonic()
        assert source.exports() == ["demo"]
        assert time.monotonic() - started >= (1 if after == "1" else 0)
    assert caplog.messages[0].endswith("attempt 2 in 1.0 s" if after == "1" else "attempt 2 in 0.0 s")


@pytest.mark.parametrize("after", ["3600", "9" * 400, "Fri, 26 Aug 2095 12:00:30 GMT"])
def test_a_server_that_wants_to_be_left_alone_for_longer_than_we_may_wait_is_given_up_at_once(
    http_server: ScriptedServer, after: str
) -> None:
    http_server.answers["/api/export"] = in_turn(http(status=503, Retry_After=after), EXPORTS)
    started = time.monotonic()
    with closing(HttpSource(http_server.url)) as source, pytest.raises(UnreachableError):
        source.exports()
    assert time.monotonic() - started < WAIT_SECONDS
    assert len(http_server.requests) == 1


def reset(_request: Request, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def nothing(_request: Request, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("trouble", [reset, nothing])
def test_a_connection_that_breaks_is_tried_again(
    http_server: ScriptedServer, trouble: Callable[[Request, socket.socket], None]
) -> None:
    turns = iter([trouble, trouble, in_turn(EXPORTS)])

    def answer(request: Request, connection: socket.socket) -> None:
        next(turns)(request, connection)

    http_server.answers["/api/export"] = answer
    with closing(HttpSource(http_server.url, retries=SOON)) as source:
        assert source.exports() == ["demo"]
    assert len(http_server.requests) == 3


def test_an_answer_that_does_not_come_is_tried_again(http_server: ScriptedServer) -> None:
    stalls = http_server.stall_after()
    assert not isinstance(stalls, bytes)

    def answer(request: Request, connection: socket.socket) -> None:
        if not http_server.stalled.is_set():
            stalls(request, connection)
        else:
            connection.sendall(EXPORTS)

    http_server.answers["/api/export"] = answer
    often = Retries(20, WAIT_SECONDS, first_wait=0.001)  # a busy machine may be slower than the time-out again
    with closing(HttpSource(http_server.url, timeout=0.2, retries=often)) as source:
        assert source.exports() == ["demo"]
    assert http_server.stalled.is_set()


def test_a_refused_connection_is_tried_again_until_the_server_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))  # refuses until it listens, and nobody else can have the port
        port = late.getsockname()[1]
        refused, found = threading.Event(), list[object]()
        retries = Retries(20, first_wait=0.05)
        with closing(HttpSource(f"http://127.0.0.1:{port}", retries=retries)) as source:
            monkeypatch.setattr("mockexport.http.retry.log.info", lambda *_: refused.set())
            asking = threading.Thread(target=lambda: found.append(source.exports()))
            asking.start()
            assert refused.wait(WAIT_SECONDS)
            late.listen()
            late.settimeout(WAIT_SECONDS)
            connection, _ = late.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(EXPORTS)
            asking.join(WAIT_SECONDS)
    assert found == [["demo"]]


def test_an_answer_that_is_wrong_is_not_tried_again(http_server: ScriptedServer) -> None:
    http_server.answers["/api/export"] = in_turn(http(b"<html>"), EXPORTS)
    with closing(HttpSource(http_server.url, retries=SOON)) as source, pytest.raises(UntrustedDataError):
        source.exports()
    assert len(http_server.requests) == 1
