"""Connections that do nothing, send slowly or take nothing: they are dropped, and lock nobody out."""

from __future__ import annotations

import logging
import select
import socket
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.cli.conftest import COMMAND
from tests.commands import serve_command
from tests.pairing import pairs
from tests.server.serving import ask, running
from tests.server.sources import DeclaringSource, FailingSource, WatchedSource, path_of
from tests.sources import HEADER, ROW, WAIT_SECONDS, csv_body

from mockexport.errors import UntrustedDataError
from mockexport.server.connections import Limits
from mockexport.server.log import RateLimit
from mockexport.server.server import SPARE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mockexport.source import Source

FILES = 256  # that the process may open
LIMITED = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); "
LIMITED += "os.execv(sys.argv[2], sys.argv[2:])"
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = 1000.0
SOON = 0.6  # seconds: a limit that a busy machine keeps to, once it has been given what to do


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), WAIT_SECONDS)


def to_the_end(client: socket.socket) -> bytes:
    """All that still comes, until the server has closed."""
    received = b""
    try:
        while chunk := client.recv(1 << 16):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def is_reset(client: socket.socket) -> bool:
    """Read on, and tell whether the connection comes to no clean end."""
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    return False


def be_told_health(client: socket.socket) -> None:
    """Ask for the server's health, and take the whole answer."""
    client.sendall(HEALTH)
    received = b""
    while not received.endswith(b'{"status":"healthy"}'):
        chunk = client.recv(1000)
        assert chunk
        received += chunk
    assert received.startswith(b"HTTP/1.1 200 OK")


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send byte after byte, each a moment after the other, and what is left of it again and again, to the end."""
    sent = 0
    while True:
        if select.select([client], [], [], 0.02)[0]:
            return to_the_end(client)
        try:
            client.send(data[sent : sent + 1] or b"x")
        except (BrokenPipeError, ConnectionResetError):
            return to_the_end(client)
        sent += 1


@contextmanager
def limited(source: Source, **limits: float) -> Iterator[str]:
    """Serve a source under limits that are met soon."""
    connections = int(limits.pop("connections", 100))
    given = {"head": LONG, "request": LONG, "write": LONG} | limits
    with running(source, Limits(connections, **given)) as (url, _):
        yield url


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.server.connections.CHECK_SECONDS", 0.02)


# A flood of connections.


@pytest.mark.gate
@pytest.mark.skipif(sys.platform == "win32", reason="what is limited here is a POSIX process")
@pytest.mark.parametrize(
    ("data", "sent"),
    pairs({"exports alone": False, "with readings": True}, {"half a request": b"GET /health HTT", "nothing": b""}),
)
def test_idle_connections_lock_nobody_out_and_fill_no_log(tmp_path: Path, data: bool, sent: bytes) -> None:
    options = ("--data", tmp_path / "data") if data else ()
    program = (sys.executable, "-c", LIMITED, str(FILES), COMMAND)
    with serve_command(*options, program=program) as server, ExitStack() as stack:
        for number in range(2 * FILES):
            client = stack.enter_context(connect(server.url))
            if number % 2:
                client.sendall(sent)
        for _ in range(5):
            answer = httpx.get(f"{server.url}/health", timeout=WAIT_SECONDS, trust_env=False)
            assert answer.json()["status"] == "healthy"
        body = httpx.get(f"{server.url}/api/export/demo", timeout=WAIT_SECONDS, trust_env=False)
        assert body.status_code == 200
        assert len("".join(server.told)) < 5000


def test_the_connection_that_waited_longest_goes_for_the_newest_and_downloads_stay() -> None:
    source = WatchedSource()
    with limited(source, connections=3) as url, ExitStack() as stack:
        busy = stack.enter_context(ask(url, "watched"))
        assert busy.recv(1000)
        first, second = stack.enter_context(connect(url)), stack.enter_context(connect(url))
        for client in (first, second):
            be_told_health(client)
        be_told_health(first)  # so now it is the second that has waited longest
        third = stack.enter_context(connect(url))
        assert to_the_end(second) == b""
        for client in (first, third):
            be_told_health(client)
        assert busy.recv(1000)
        assert not source.closed.is_set()


def test_when_all_connections_are_busy_others_are_told_so() -> None:
    with limited(WatchedSource(), connections=1) as url:
        with ExitStack() as stack:
            for _ in range(SPARE):
                busy = stack.enter_context(ask(url, "watched"))
                assert busy.recv(1000).startswith(b"HTTP/1.1 200")
            assert httpx.get(f"{url}/health", timeout=WAIT_SECONDS, trust_env=False).status_code == 503
        with httpx.Client(base_url=url, timeout=WAIT_SECONDS, trust_env=False) as client:
            deadline = time.monotonic() + WAIT_SECONDS
            while client.get("/health").status_code != 200:
                assert time.monotonic() < deadline


def test_half_of_the_files_of_a_process_are_for_connections() -> None:
    resource = pytest.importorskip("resource")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 1 <= Limits.of_process().connections <= max(1, files // 2 if files > 0 else 4096)


# Requests that don't come to their end.


def test_a_connection_that_sends_nothing_is_closed_in_silence() -> None:
    with limited(WatchedSource(), head=0.1) as url, connect(url) as client:
        assert to_the_end(client) == b""


@pytest.mark.gate
def test_a_kept_connection_that_sends_nothing_more_is_closed_in_silence() -> None:
    with limited(WatchedSource(), head=SOON) as url, connect(url) as client:
        client.sendall(HEALTH)
        assert to_the_end(client).count(b"HTTP/1.1") == 1


@pytest.mark.gate
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("head", [b"G", b"GET /health HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_head_that_comes_byte_by_byte_is_cut_off(kept: bool, head: bytes) -> None:
    with limited(WatchedSource(), head=0.3) as url, connect(url) as client:
        if kept:
            be_told_health(client)
        assert drip(client, head) in (
            b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            b"",
        )


@pytest.mark.gate
@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_that_comes_byte_by_byte_is_cut_off(framing: str, method: str) -> None:
    chunk = b"ffff\r\n" if "chunked" in framing else b""
    with limited(WatchedSource(), request=0.3) as url, connect(url) as client:
        client.sendall(f"{method} /health HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + chunk)
        assert drip(client, b"").count(b"HTTP/1.1") <= 1


@pytest.mark.gate
def test_a_connection_that_goes_on_asking_is_kept() -> None:
    with limited(WatchedSource(), head=SOON, request=SOON) as url, connect(url) as client:
        until = time.monotonic() + 2 * SOON
        while time.monotonic() < until:
            be_told_health(client)


@pytest.mark.gate
def test_a_source_that_takes_its_time_is_waited_for() -> None:
    class PatientSource(WatchedSource):
        def chunks(self) -> Iterator[bytes]:  # type: ignore[override]
            yield HEADER
            time.sleep(1.5 * SOON)  # longer than all limits
            yield ROW

    with limited(PatientSource(), head=SOON, request=SOON, write=SOON) as url:
        assert (
            httpx.get(f"{url}{path_of('watched')}/data", timeout=WAIT_SECONDS, trust_env=False).content == HEADER + ROW
        )


# Clients that don't take their answer.


@pytest.mark.gate
def test_clients_that_take_nothing_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    source = WatchedSource()
    with caplog.at_level(logging.WARNING), limited(source, write=0.3) as url, ask(url, "watched") as client:
        assert client.recv(10)
        assert source.closed.wait(WAIT_SECONDS)
        assert "a client received nothing of a response for 0.3 s: closed its connection" in caplog.messages


@pytest.mark.gate
def test_clients_that_take_nothing_of_the_last_bytes_are_dropped() -> None:
    body = csv_body(400_000)  # more than the system takes, handed over as one: so the server has done with the answer
    with (
        running(DeclaringSource({"a": body}, chunk_bytes=1 << 30), Limits(100, LONG, LONG, 0.3)) as (url, server),
        connect(url) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET {path_of('a')}/data HTTP/1.0\r\n\r\n".encode())
        assert client.recv(10)
        deadline = time.monotonic() + WAIT_SECONDS
        while server.server_state.connections:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)


def test_clients_that_take_nothing_hold_up_no_others() -> None:
    source = WatchedSource()
    with limited(source) as url, ExitStack() as stack:
        for _ in range(40):  # more than there are threads
            assert stack.enter_context(ask(url, "watched")).recv(10)
        assert httpx.get(f"{url}{path_of('other')}/data", timeout=WAIT_SECONDS, trust_env=False).content == HEADER + ROW


@pytest.mark.gate
def test_a_slow_client_that_goes_on_taking_gets_all() -> None:
    body = csv_body(100_000)
    with limited(DeclaringSource({"a": body}), head=SOON, request=SOON, write=SOON) as url:
        with ask(url, "a", "Accept-Encoding: identity", "Connection: close") as client:
            received = b""
            while chunk := client.recv(1 << 15):
                received += chunk
                if len(received) < 3_000_000:
                    select.select([], [], [], SOON / 60)  # a hundred times
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert received.count(ROW) > 90_000


# The log.


def passed(limit: RateLimit, message: str, number: int, name: str = "uvicorn.error") -> list[str]:
    records = [logging.LogRecord(name, logging.WARNING, "", 0, message, (n,), None) for n in range(number)]
    return [record.getMessage() for record in records if limit(record)]


def test_of_one_kind_of_line_only_some_are_logged() -> None:
    limit = RateLimit(lines=3, seconds=1000)
    assert passed(limit, "client %d went away", 100) == [
        "client 0 went away",
        "client 1 went away",
        "client 2 went away (more are left out for up to 1000 s)",
    ]
    assert passed(limit, "another %d", 2) == ["another 0", "another 1"]
    assert len(passed(limit, "a request %d", 100, "uvicorn.access")) == 100


def test_after_a_while_lines_are_logged_again_with_how_many_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RateLimit(lines=3, seconds=10)
    passed(limit, "client %d went away", 100)
    later = time.monotonic() + 11
    monkeypatch.setattr("mockexport.server.log.time.monotonic", lambda: later)
    assert passed(limit, "client %d went away", 2) == [
        "client 0 went away (97 more were left out)",
        "client 1 went away",
    ]


# Requests that are none, and ends that are none.

DATA = f"{path_of('watched')}/data"
TWO_LENGTHS = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
ODD = {
    "two lengths": TWO_LENGTHS.format("/health") + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths that differ": "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length with a sign": "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
    "a length of 5,000 digits": f"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: {'9' * 5000}\r\n\r\n",
    "another encoding": "GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "a chunk of no size": "GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk extension without end": "GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    + "x" * 100_000,
    "a space before a colon": "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nabcde",
    "no host": "GET /health HTTP/1.1\r\n\r\n",
    "two hosts": "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no version": "GET /health\r\n\r\n",
    "a NUL in a header": "GET /health HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "a header of a megabyte": "GET /health HTTP/1.1\r\nHost: a\r\nX: " + "a" * (1 << 20) + "\r\n\r\n",
    "100,000 headers": "GET /health HTTP/1.1\r\nHost: a\r\n" + "X: a\r\n" * 100_000 + "\r\n",
    "blank lines without end": "\r\n" * 100_000,
}


@pytest.mark.gate
@pytest.mark.parametrize("case", ODD)
def test_an_odd_request_is_400_and_ends_its_connection(case: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), limited(WatchedSource()) as url, connect(url) as client:
        with suppress(ConnectionError):  # it may be refused before all of it is sent
            client.sendall(ODD[case].encode())
        answer = to_the_end(client)
        assert answer.count(b"HTTP/1.1 ") <= 1
        assert answer.startswith(b"HTTP/1.1 400 ") or (answer == b"" and len(ODD[case]) > 1 << 16)
    assert "".join(caplog.messages).count("\n") == 0, "no traceback"


def test_an_odd_request_body_in_the_middle_of_an_answer_breaks_it_off(caplog: pytest.LogCaptureFixture) -> None:
    source = WatchedSource()
    with (
        caplog.at_level(logging.ERROR),
        limited(source) as url,
        ask(url, "watched", "Transfer-Encoding: chunked") as one,
    ):
        assert one.recv(1000).startswith(b"HTTP/1.1 200")
        one.sendall(b"zz\r\n")
        assert b"\r\n0\r\n\r\n" not in to_the_end(one)
        assert source.closed.wait(WAIT_SECONDS)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("request_body", [b"", b"abcde", b"a" * 500_000])
def test_a_get_with_a_body_is_answered_and_the_next_request_after_it(request_body: bytes) -> None:
    with limited(WatchedSource()) as url, connect(url) as client:
        client.sendall(
            b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(request_body) + request_body
        )
        client.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert to_the_end(client).count(b"HTTP/1.1 200 OK") == 2


def test_to_http_1_0_an_answer_that_breaks_off_is_a_reset_and_no_end() -> None:
    """It has no chunks, and without a length nothing but the end of the connection would end its body."""
    rows = [csv_body(10_000)] * 3
    with limited(FailingSource(UntrustedDataError("it broke"), rows)) as url, connect(url) as client:
        client.sendall(f"GET {DATA} HTTP/1.0\r\n\r\n".encode())
        assert is_reset(client)


def test_to_http_1_0_an_answer_that_is_dropped_is_a_reset_and_no_end() -> None:
    source = WatchedSource()
    with limited(source, write=0.2) as url, connect(url) as client:
        client.sendall(f"GET {DATA} HTTP/1.0\r\n\r\n".encode())
        assert source.closed.wait(WAIT_SECONDS)
        assert is_reset(client)


def test_to_http_1_0_an_answer_that_ends_with_the_server_is_a_reset_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.server.server.GRACE_SECONDS", 0)
    source = WatchedSource()
    with ExitStack() as stack:
        with limited(source) as url:
            client = stack.enter_context(connect(url))
            client.sendall(f"GET {DATA} HTTP/1.0\r\n\r\n".encode())
            assert client.recv(1000)
        assert is_reset(client)
