"""What a server does that can't take more, or is asked for too much: 413, 503, 401, and never a wait without an end."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.bodies import GOOD, dumps, reading
from tests.heartrate.serving import BATCH, ONE, FakeService, done, served
from tests.sources import WAIT_SECONDS

from mockexport.errors import UnreachableError
from mockexport.heartrate.ingest import routes
from mockexport.heartrate.journal import JournalError, JournalFullError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MIB = 1 << 20
QUERY = {"user_id": "u", "start": "2024-01-15T10:00:00Z", "end": "2024-01-15T10:00:00Z"}


def padded(size: int) -> bytes:
    """A valid reading of so many bytes."""
    body = dumps(GOOD)
    return body[:-1] + b" " * (size - len(body)) + b"}"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[httpx.Client]:
    with served(service) as client:
        yield client


def test_a_body_of_1_mib_is_taken_and_one_byte_more_is_413(client: httpx.Client, service: FakeService) -> None:
    assert client.post(ONE, content=padded(MIB)).status_code == 202
    for path in (ONE, BATCH):
        answer = client.post(path, content=padded(MIB + 1))
        assert (answer.status_code, answer.json()) == (413, {"detail": "body: is larger than 1,048,576 bytes"})
    assert len(service.accepted) == 1


def test_a_chunked_body_above_1_mib_is_413_though_it_never_ends(client: httpx.Client) -> None:
    host, port = str(client.base_url).removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), WAIT_SECONDS) as sender:
        sender.sendall(f"POST {ONE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(16):
            sender.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        sender.sendall(b"1\r\n \r\n")
        assert sender.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_declared_length_above_1_mib_is_413_before_anything_is_sent(client: httpx.Client) -> None:
    host, port = str(client.base_url).removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), WAIT_SECONDS) as sender:
        head = f"POST {BATCH} HTTP/1.1\r\nHost: x\r\nContent-Length: {MIB + 1}\r\nExpect: 100-continue\r\n\r\n"
        sender.sendall(head.encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_within_bounds_is_taken(client: httpx.Client, service: FakeService) -> None:
    assert client.post(ONE, content=iter([dumps(GOOD)[:20], dumps(GOOD)[20:]])).status_code == 202
    assert len(service.accepted) == 1


def test_a_body_that_is_cut_is_not_kept(client: httpx.Client, service: FakeService) -> None:
    host, port = str(client.base_url).removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), WAIT_SECONDS) as sender:
        body = dumps(GOOD)
        sender.sendall(f"POST {ONE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode() + body)
    assert client.get("/health").status_code == 200
    assert service.accepted == []


def test_a_body_that_does_not_come_is_408(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_SECONDS", 0.1)
    host, port = str(client.base_url).removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), WAIT_SECONDS) as sender:
        sender.sendall(f"POST {ONE} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 408 ")


def busy(answer: httpx.Response, told: str) -> None:
    assert answer.status_code == 503
    assert list(answer.json()) == ["detail"]
    assert told in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", [ONE, BATCH])
def test_a_full_journal_is_503_with_the_time_to_wait(client: httpx.Client, service: FakeService, path: str) -> None:
    def refuse(_: Any) -> Future[None]:
        raise JournalFullError("the journal is full", 7)

    service.accepting = refuse
    answer = client.post(path, json=GOOD if path == ONE else {"readings": [GOOD]})
    busy(answer, "the journal is full")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("path", [ONE, BATCH])
def test_what_the_journal_could_not_keep_is_503(client: httpx.Client, service: FakeService, path: str) -> None:
    service.accepting = lambda _: done(JournalError("the disk is full"))
    busy(client.post(path, json=GOOD if path == ONE else {"readings": [GOOD]}), "the disk is full")


def test_a_journal_that_does_not_answer_is_503(
    client: httpx.Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "JOURNAL_SECONDS", 0.1)
    waiting: Future[None] = Future()
    service.accepting = lambda _: waiting
    busy(client.post(ONE, json=GOOD), "may or may not be stored")
    assert not waiting.cancelled()


def test_invalid_readings_are_400_even_when_the_journal_is_full(client: httpx.Client, service: FakeService) -> None:
    service.accepting = lambda _: done(JournalError("the disk is full"))
    assert client.post(ONE, json=reading(heart_rate=0)).status_code == 400


@pytest.mark.gate
def test_health_is_503_and_the_reason_when_writes_would_fail(client: httpx.Client, service: FakeService) -> None:
    service.told = "the disk is full"
    busy(client.get("/health"), "the disk is full")


def test_too_many_posts_at_once_are_503(
    client: httpx.Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "POSTS_AT_ONCE", 3)
    held, arrived = [Future[None]() for _ in range(3)], threading.Semaphore(0)

    def hold(_: Any) -> Future[None]:
        arrived.release()
        return held[len(service.accepted) - 1]

    service.accepting = hold
    with ThreadPoolExecutor(3) as others:
        answers = [others.submit(client.post, ONE, json=GOOD) for _ in held]
        for _ in held:
            assert arrived.acquire(timeout=WAIT_SECONDS)
        busy(client.post(ONE, json=GOOD), "too many posts")
        for future in held:
            future.set_result(None)
        assert [answer.result().status_code for answer in answers] == [202] * 3
    service.accepting = lambda _: done()
    assert client.post(ONE, json=GOOD).status_code == 202


def test_too_many_queries_are_503_and_posts_and_health_go_on_meanwhile(
    client: httpx.Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "QUERIES_WAITING", 0)
    running, go_on = threading.Semaphore(0), threading.Event()

    def hold(_: str) -> list[Any]:
        running.release()
        assert go_on.wait(WAIT_SECONDS)
        return []

    service.answering = hold
    with ThreadPoolExecutor(routes.QUERIES_AT_ONCE) as others:
        answers = [others.submit(client.get, ONE, params=QUERY) for _ in range(routes.QUERIES_AT_ONCE)]
        for _ in answers:
            assert running.acquire(timeout=WAIT_SECONDS)
        busy(client.get(ONE, params=QUERY), "too many queries")
        assert client.post(ONE, json=GOOD).status_code == 202
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200
        go_on.set()
        assert [answer.result().status_code for answer in answers] == [404] * routes.QUERIES_AT_ONCE


def test_a_query_without_end_is_503(
    client: httpx.Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "QUERY_SECONDS", 0.1)
    go_on = threading.Event()

    def hold(_: str) -> list[Any]:
        go_on.wait(WAIT_SECONDS)
        return []

    service.answering = hold
    busy(client.get(ONE, params=QUERY), "shorter range")
    go_on.set()


def test_a_table_that_can_not_be_read_is_503(client: httpx.Client, service: FakeService) -> None:
    def fail(_: str) -> list[Any]:
        raise UnreachableError("cannot read the table")

    service.answering = fail
    busy(client.get(ONE, params=QUERY), "cannot read the table")


def test_with_a_token_only_health_is_open(service: FakeService) -> None:
    with served(service, token="secret") as client:
        assert client.get("/health").status_code == 200
        for method, path in (("POST", ONE), ("POST", BATCH), ("GET", ONE), ("GET", "/metrics")):
            assert client.request(method, path).status_code == 401
        assert client.post(ONE, json=GOOD, headers={"Authorization": "Bearer secret"}).status_code == 202
    assert len(service.accepted) == 1
