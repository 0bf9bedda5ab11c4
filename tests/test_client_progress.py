"""Time-outs bound the wait for progress: for the whole head of an answer, and then from bytes to bytes of its body."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import deque
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.pairing import pairs
from tests.scripted_http import Answer, ScriptedServer, http
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, csv_body

from mockexport import Download, MockExportError, UnreachableError, UsageError, count
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.scripted_http import Request

TIMEOUT = 0.4
PATIENT = 1.0  # seconds: a time-out that a busy machine keeps to
OFTEN = 0.02  # seconds between signs of life, far below the time-out
EXPORTS, DATA = "/api/export", f"/api/export/{EXPORT}/a/data"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def dribbling(server: ScriptedServer, start: bytes, piece: bytes, seconds: float = OFTEN) -> Answer:
    """Send a start, then a piece every so often, until the client has gone."""

    def answer(_request: Request, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(start)
            while not server.released.wait(seconds):
                connection.sendall(piece)

    return answer


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", OFTEN),
    "interim answers as fast as can be": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.0),
    "a status line byte by byte": (b"HTTP/1.1 200 ", b"O", OFTEN),
    "a header byte by byte": (OK + b"X-More: ", b"x", OFTEN),
    "header after header": (OK, b"X-More: x\r\n", OFTEN),
    "an extension of a chunk byte by byte": (CHUNKED + b"5;", b"x", OFTEN),
    "zeros of the size of a chunk": (CHUNKED, b"", OFTEN),
    "a trailer byte by byte": (CHUNKED + b"5\r\nhello\r\n0\r\nX-More: ", b"x", OFTEN),
    "trailer after trailer": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-More: x\r\n", OFTEN),
}


@pytest.mark.gate
@pytest.mark.parametrize(("path", "endless"), pairs({"exports": EXPORTS, "data": DATA}, ENDLESS))
def test_signs_of_life_without_bytes_of_the_body_are_no_progress(
    http_server: ScriptedServer, path: str, endless: tuple[bytes, bytes, float]
) -> None:
    start, piece, seconds = endless
    http_server.answers[path] = dribbling(http_server, start, piece, seconds)
    with closing(HttpSource(http_server.url, timeout=TIMEOUT, retries=Retries(0))) as source:
        ask: Callable[[], object] = (
            source.exports if path == EXPORTS else partial(deque, source.open(Download(EXPORT, "a")))
        )
        with pytest.raises(UnreachableError, match=r"did not answer within 0\.4 s"):
            ask()


@pytest.mark.parametrize("line", [b"\r\n", b"\n"])
def test_blank_lines_are_no_answer(http_server: ScriptedServer, line: bytes) -> None:
    http_server.answers[EXPORTS] = dribbling(http_server, line, line)
    with closing(HttpSource(http_server.url, timeout=TIMEOUT, retries=Retries(0))) as source:
        with pytest.raises(MockExportError) as failed:
            source.exports()
        assert failed.value.exit_code in (5, 6)


@pytest.mark.gate
@pytest.mark.parametrize("chunked", [False, True])
def test_a_slow_body_is_read_to_its_end_however_long_that_takes(http_server: ScriptedServer, chunked: bool) -> None:
    rows = 2 * int(PATIENT / OFTEN)  # each within the time-out, all of them far beyond it

    def answer(_request: Request, connection: socket.socket) -> None:
        length = b"" if chunked else b"Content-Length: %d\r\n" % (len(HEADER) + rows * len(ROW))
        connection.sendall(CHUNKED if chunked else OK + length + b"\r\n")
        for piece in [HEADER] + [ROW] * rows:
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            http_server.released.wait(OFTEN)
        connection.sendall(b"0\r\n\r\n" if chunked else b"")

    http_server.has(EXPORT, {"a": answer})
    with closing(HttpSource(http_server.url, timeout=PATIENT, retries=Retries(0))) as source:
        assert count(source, EXPORT).rows == rows


@pytest.mark.gate
def test_the_time_that_the_reader_takes_is_not_the_servers(http_server: ScriptedServer) -> None:
    http_server.answers[DATA] = http(csv_body(50_000))
    with closing(HttpSource(http_server.url, timeout=PATIENT, retries=Retries(0))) as source:
        chunks = source.open(Download(EXPORT, "a"))
        read = len(next(chunks))
        threading.Event().wait(PATIENT * 1.2)
        assert read + sum(map(len, chunks)) == len(csv_body(50_000))


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 1e300, 0, -1])
def test_a_time_out_that_can_not_be_waited_for_is_a_usage_error(timeout: float) -> None:
    with pytest.raises(UsageError, match=f"a timeout of {re.escape(format(timeout, 'g'))} s is not valid"):
        HttpSource("http://127.0.0.1:9", timeout=timeout)


# ---- Being broken off while connecting ----


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """A listener that takes no connection: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener


def broken_off(source: HttpSource, when: Callable[[], object]) -> list[BaseException]:
    """Ask in another thread, close the source when it is time; return what came of it."""
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            source.exports()
        except MockExportError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    when()
    source.close()
    asking.join(WAIT_SECONDS)
    assert not asking.is_alive()
    return errors


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="what a socket waits for is read from /proc")
def test_closing_the_source_ends_a_connection_in_the_making(
    full: socket.socket, eventually: Callable[..., None]
) -> None:
    place = f":{full.getsockname()[1]:04X} 02"  # to this port, SYN_SENT

    def connecting() -> bool:
        return Path("/proc/net/tcp").read_text().count(place) >= 2  # the second one of the fixture is the other

    source = HttpSource(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=10 * WAIT_SECONDS, retries=Retries(0))
    started = time.monotonic()
    (error,) = broken_off(source, lambda: eventually(connecting))
    assert isinstance(error, UnreachableError)
    assert time.monotonic() - started < WAIT_SECONDS


def test_closing_the_source_ends_a_tls_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def hello() -> None:
            connection, _ = listener.accept()
            accepted.append(connection)
            assert connection.recv(1) == b"\x16"  # the client has begun, and waits for an answer

        source = HttpSource(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=10 * WAIT_SECONDS)
        started = time.monotonic()
        (error,) = broken_off(source, hello)
        accepted[0].close()
    assert isinstance(error, UnreachableError)
    assert time.monotonic() - started < WAIT_SECONDS


@pytest.mark.gate
def test_a_tls_handshake_byte_by_byte_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"\x16\x03\x03\x3f\xff")
                while not over.wait(OFTEN):
                    connection.sendall(b"\x02")

        thread = threading.Thread(target=dribble)
        thread.start()
        source = HttpSource(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT, retries=Retries(0))
        with closing(source), pytest.raises(UnreachableError):
            source.exports()
        over.set()
        thread.join(WAIT_SECONDS)
