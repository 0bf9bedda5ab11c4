"""HttpSource where the server refuses, redirects, stalls, breaks off or is none; and being broken off from here."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.pairing import pairs
from tests.scripted_http import Request, ScriptedServer, http, json, refusing
from tests.sources import HEADER, WAIT_SECONDS, csv_body

from mockexport import (
    Download,
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    UnreachableError,
    UntrustedDataError,
    count,
)
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable

EXPORTS, DATA = "/api/export", "/api/export/trial/a/data"
LIST = json({"data": {"export_ids": ["trial"]}})
SHORT_TIMEOUT = 0.3


def read(source: HttpSource) -> bytes:
    return b"".join(source.open(Download("trial", "a")))


REQUESTS: dict[str, tuple[str, Callable[[HttpSource], object]]] = {
    "exports": (EXPORTS, HttpSource.exports),
    "data": (DATA, read),
}
BOTH_REQUESTS = pytest.mark.parametrize(("path", "ask"), REQUESTS.values(), ids=REQUESTS)

# ---- Statuses ----

STATUSES: list[tuple[type[MockExportError], list[int]]] = [
    (NotAuthorisedError, [401, 403]),
    (NotFoundError, [404, 410, 422]),
    (UnreachableError, [408, 425, 429, 500, 502, 503, 504]),
    (UntrustedDataError, [201, 204, 300, 304, 400, 405, 406, 418]),
]


@pytest.mark.parametrize(
    ("asked", "answered"),
    pairs(REQUESTS, {str(status): (kind, status) for kind, statuses in STATUSES for status in statuses}),
)
def test_each_status_is_the_error_that_it_means_and_names_the_url(
    http_server: ScriptedServer,
    http_source: HttpSource,
    asked: tuple[str, Callable[[HttpSource], object]],
    answered: tuple[type[MockExportError], int],
) -> None:
    (path, ask), (kind, status) = asked, answered
    http_server.answers[path] = http(b"" if status in (204, 304) else b'{"detail": "no"}', status)
    with pytest.raises(MockExportError, match=f"{http_server.url}{path} answered {status}") as failed:
        ask(http_source)
    assert type(failed.value) is kind


# ---- Redirects ----


@BOTH_REQUESTS
@pytest.mark.parametrize(
    ("status", "absolute"),
    pairs({str(status): status for status in (307, 301, 302, 303, 308)}, {"absolute": True, "relative": False}),
)
def test_redirects_are_followed(
    http_server: ScriptedServer,
    http_source: HttpSource,
    path: str,
    ask: Callable[[HttpSource], object],
    status: int,
    absolute: bool,
) -> None:
    target = f"{http_server.url}/there" if absolute else "/there"
    http_server.answers[path] = http(b"", status, Location="/between")
    http_server.answers["/between"] = http(b"moved", status, Location=target)
    http_server.answers["/there"] = LIST
    assert ask(http_source) in (["trial"], LIST.split(b"\r\n\r\n")[1])


@BOTH_REQUESTS
@pytest.mark.parametrize("location", [EXPORTS, DATA, "ftp://h/x", "http://a..b/", "http://xn--/", "http://h:x/", None])
def test_redirects_that_lead_nowhere_are_refused(
    http_server: ScriptedServer,
    http_source: HttpSource,
    path: str,
    ask: Callable[[HttpSource], object],
    location: str | None,
) -> None:
    answer = http(b"", 302, **({} if location is None else {"Location": location}))
    http_server.answers |= {EXPORTS: answer, DATA: answer}
    with pytest.raises(UntrustedDataError, match=f"{http_server.url}{path}"):
        ask(http_source)
    assert len(http_server.requests) < 50


def test_the_body_of_a_redirect_is_not_waited_for(http_server: ScriptedServer, http_source: HttpSource) -> None:
    endless = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 1000000000000\r\n\r\n"
    http_server.answers[EXPORTS] = http_server.stall_after(endless + b"x" * 1000)
    http_server.answers["/there"] = LIST
    started = time.monotonic()
    assert http_source.exports() == ["trial"]
    assert time.monotonic() - started < WAIT_SECONDS / 2


# ---- Servers that stall, break off or are none ----


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with refusing() as url, closing(HttpSource(url, timeout=WAIT_SECONDS, retries=Retries(0))) as source:
        for ask in (HttpSource.exports, read):
            with pytest.raises(UnreachableError, match=f"{url}/api/export"):
                ask(source)


STALLED: dict[str, bytes] = {
    "before its answer": b"",
    "within its first line": b"HTTP/1.1 2",
    "within its headers": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n",
    "before its body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "within its body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + HEADER,
    "within a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n" + HEADER,
}


@pytest.mark.parametrize(("asked", "sent"), pairs(REQUESTS, STALLED))
def test_a_server_that_stalls_is_unreachable_after_the_timeout(
    http_server: ScriptedServer, asked: tuple[str, Callable[[HttpSource], object]], sent: bytes
) -> None:
    path, ask = asked
    http_server.answers[path] = http_server.stall_after(sent)
    started = time.monotonic()
    with closing(HttpSource(http_server.url, timeout=SHORT_TIMEOUT, retries=Retries(0))) as source:
        with pytest.raises(UnreachableError, match=r"did not answer within 0\.3 s") as failed:
            ask(source)
        assert f"{http_server.url}{path}" in str(failed.value)
    assert SHORT_TIMEOUT <= time.monotonic() - started < WAIT_SECONDS / 2


GARBAGE = [
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x15\x03\x01\x00\x02\x02\x50",
    b"<html></html>",
    b"HTTP/1.1 two hundred\r\n\r\n",
]
GARBAGE += [b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"\0" * 300_000]


@BOTH_REQUESTS
@pytest.mark.parametrize("sent", GARBAGE)
def test_what_is_no_http_is_refused(
    http_server: ScriptedServer,
    http_source: HttpSource,
    path: str,
    ask: Callable[[HttpSource], object],
    sent: bytes,
) -> None:
    http_server.answers[path] = sent
    with pytest.raises(UntrustedDataError, match=f"{http_server.url}{path}") as failed:
        ask(http_source)
    assert str(failed.value).isprintable()


def resets(_request: Request, connection: socket.socket) -> None:
    """Break the connection off as a server that crashes does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@BOTH_REQUESTS
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-", resets])
def test_a_server_that_breaks_off_is_an_error_in_one_line(
    http_server: ScriptedServer,
    http_source: HttpSource,
    path: str,
    ask: Callable[[HttpSource], object],
    answer: bytes | Callable[[Request, socket.socket], None],
) -> None:
    http_server.answers[path] = answer
    with pytest.raises(MockExportError, match=f"{http_server.url}{path}") as failed:
        ask(http_source)
    assert failed.value.exit_code in (UnreachableError.exit_code, UntrustedDataError.exit_code)
    assert str(failed.value).isprintable()


# ---- Being broken off ----


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED.keys())
def test_closing_the_source_wakes_whoever_waits_for_the_server(
    http_server: ScriptedServer, http_source: HttpSource, sent: bytes
) -> None:
    http_server.answers[DATA] = http_server.stall_after(sent)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            read(http_source)
        except MockExportError as error:
            errors.append(error)

    reader = threading.Thread(target=wait)
    reader.start()
    assert http_server.stalled.wait(WAIT_SECONDS)
    started = time.monotonic()
    http_source.close()
    reader.join(WAIT_SECONDS)
    assert time.monotonic() - started < WAIT_SECONDS / 2
    assert len(errors) == 1


def test_a_source_can_be_used_again_after_it_was_closed(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers[EXPORTS] = LIST
    for _ in range(3):
        assert http_source.exports() == ["trial"]
        http_source.close()
        http_source.close()


def test_the_first_error_of_a_count_wakes_the_downloads_that_wait(
    http_server: ScriptedServer, http_source: HttpSource, eventually: Callable[..., None]
) -> None:
    before = set(threading.enumerate())

    def bad_once_others_wait(_request: Request, connection: socket.socket) -> None:
        assert http_server.stalled.wait(WAIT_SECONDS)
        connection.sendall(http(b"patient_id\n"))

    stalls = http_server.stall_after(STALLED["within its body"])
    http_server.has("trial", {"stalls": stalls, "bad": bad_once_others_wait, "sound": http(csv_body(3))})
    with pytest.raises(UntrustedDataError, match=r"download 'bad' .* is malformed at line 1"):
        count(http_source, "trial")
    http_server.released.set()
    eventually(lambda: not [t for t in set(threading.enumerate()) - before if "ThreadPool" in t.name])
