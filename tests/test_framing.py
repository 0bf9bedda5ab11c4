"""What belongs to one answer on a connection, and what lies behind it."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scripted_http import Answer, ScriptedServer
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS

from mockexport import MockExportError, UntrustedDataError, count
from mockexport.http.framing import Framing
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    import socket

    from tests.scripted_http import Request

BODY = HEADER + ROW * 100
EXPORTS = b'{"data":{"export_ids":["trial"]}}'
POISON = b'HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{"data":{"export_ids":["poison"]}}'
HEAD = b"HTTP/1.1 200 OK\r\n"


def sized(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(body: bytes, size: int = 1000, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    chunks = b"".join(b"%x;of=it\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + end


KEPT = {
    "with a length": sized,
    "chunked": in_chunks,
    "chunked, with a trailer": lambda body: in_chunks(body, end=b"0;last\r\nX-More: 1\r\nX-Rest: 2\r\n\r\n"),
    "after interim answers": lambda body: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + sized(body),
}
EACH = pytest.mark.parametrize("send", KEPT.values(), ids=KEPT)


def kept_open(answers: dict[str, bytes], told: list[str]) -> Answer:
    """Answer all requests that come on the same connection."""

    def answer(request: Request, connection: socket.socket) -> None:
        target = request.target
        while True:
            told.append(target)
            connection.sendall(answers[target])
            asked = b""
            while b"\r\n\r\n" not in asked:
                received = connection.recv(1 << 16)
                if not received:
                    return
                asked += received
            target = asked.split(b" ", 2)[1].decode()

    return answer


def connections(server: ScriptedServer) -> int:
    return len(server.requests)  # each is asked for by its first request alone


@EACH
def test_a_connection_is_kept_for_the_next_request(
    http_server: ScriptedServer, http_source: HttpSource, send: Any
) -> None:
    told: list[str] = []
    http_server.answers["/api/export"] = kept_open({"/api/export": send(EXPORTS)}, told)
    for _ in range(5):
        assert http_source.exports() == [EXPORT]
    assert len(told) == 5
    assert connections(http_server) == 1


@EACH
@pytest.mark.parametrize("behind", [b"x", b"\r\n", POISON, POISON[:20], b"\0" * 300_000])
def test_bytes_behind_an_answer_make_it_untrusted_and_never_become_the_next_one(
    http_server: ScriptedServer, http_source: HttpSource, send: Any, behind: bytes
) -> None:
    http_server.answers["/api/export"] = kept_open({"/api/export": send(EXPORTS) + behind}, [])
    for _ in range(3):
        with pytest.raises(UntrustedDataError, match="bytes behind its end"):
            http_source.exports()
    assert connections(http_server) == 3


@EACH
def test_bytes_behind_data_make_it_untrusted(http_server: ScriptedServer, http_source: HttpSource, send: Any) -> None:
    http_server.has(EXPORT, {"a": kept_open({f"/api/export/{EXPORT}/a/data": send(BODY) + ROW}, [])})
    with pytest.raises(UntrustedDataError, match="bytes behind its end"):
        count(http_source, EXPORT)


def test_bytes_that_arrive_before_the_next_request_are_not_its_answer(
    http_server: ScriptedServer, http_source: HttpSource, eventually: Any
) -> None:
    """They come too late to tell of the answer before them."""
    asked: list[socket.socket] = []

    def answer(_request: Request, connection: socket.socket) -> None:
        asked.append(connection)
        if len(asked) > 1:
            connection.sendall(sized(EXPORTS))
            return
        connection.sendall(sized(EXPORTS))
        eventually(lambda: answered)
        connection.sendall(POISON)
        sent.append(True)
        connection.recv(1)

    answered: list[object] = []
    sent: list[bool] = []
    http_server.answers["/api/export"] = answer
    answered.append(http_source.exports())
    eventually(lambda: sent)
    assert http_source.exports() == answered[0] == [EXPORT]
    assert len(asked) == 2


@pytest.mark.parametrize("lie", [b"", b"Content-Length: 5\r\n"])
def test_no_part_of_a_head_that_lies_behind_an_answer_is_put_before_the_next_one(
    http_server: ScriptedServer, http_source: HttpSource, lie: bytes
) -> None:
    half = b"HTTP/1.1 200 OK\r\n" + lie + b"X-More: "
    http_server.answers["/api/export"] = kept_open({"/api/export": sized(EXPORTS) + half}, [])
    with pytest.raises(UntrustedDataError):
        http_source.exports()


# ---- Framing by itself ----


@given(data=st.data())
@pytest.mark.parametrize("send", KEPT.values(), ids=KEPT)
def test_an_answer_ends_where_it_ends_however_it_arrives(send: Any, data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=300))
    answer = send(body) if body or send is sized else sized(body)
    behind = data.draw(st.binary(max_size=20))
    left = answer + behind
    framing = Framing()
    taken = b""
    in_head = True
    while left:
        arrived = left[: data.draw(st.integers(1, len(left)))]
        n = framing.take(arrived)
        if n == 0:
            break
        taken, left = taken + arrived[:n], left[n:]
        *_, last = taken.split(b"\r\n\r\n", taken.count(b"HTTP/1.1 103"))
        if in_head and b"HTTP/1.1 200" in last and b"\r\n\r\n" in last:
            in_head = False
            assert last.partition(b"\r\n\r\n")[2] == b"", "a head is handed on by itself"
            lines = last.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
            framing.begin_body(b"GET", 200, [(name, value) for name, _, value in (x.partition(b": ") for x in lines)])
    assert taken == answer


# ---- Whatever a server sends ----


WORDS = [
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 206 \r\n",
        b"HTTP/1.1 100\r\n\r\n",
        b"HTTP/1.1 416 x\r\n",
        b"HTTP/1.1 101 S\r\n",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"Content-Range: bytes 0-" + b"9" * 5000 + b"/*\r\n", b'ETag: "\xff"\r\n'),
    *(b"Location: http://[::1/\r\n", b"Location: http://a:99999999/\r\n", b"HTTP/1.1 302 Found\r\n", b"\r\n", b"\n"),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"f" * 30, b"Retry-After: Fri, 01 Jan 10000000000 00:00:00 GMT\r\n"),
    *(
        b"HTTP/1.1 503 Busy\r\n",
        b"Content-Length: 0\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"\x1f\x8b\x08\0",
    ),
]


@pytest.mark.parametrize("tries", [25, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_a_server_sends_is_an_answer_or_an_error_of_ours(tries: int) -> None:
    with ScriptedServer() as server:

        @settings(max_examples=tries)
        @given(parts=st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=8))
        def check(parts: list[bytes]) -> None:
            answer = b"".join(parts)
            server.has(EXPORT, {"a": answer})
            server.heads[f"/api/export/{EXPORT}/a/data"] = answer
            server.answers["/api/export"] = answer
            with closing(HttpSource(server.url, timeout=WAIT_SECONDS, retries=Retries(0))) as source:
                for ask in (lambda: count(source, EXPORT), source.exports):
                    with suppress(MockExportError):
                        ask()

        check()
