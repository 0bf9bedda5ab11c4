"""One body, read by itself: where it stands, when it lets go of its connection, and what it unpacks."""

from __future__ import annotations

import gzip
import itertools
import os
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.sources import csv_body

from mockexport import Download
from mockexport.errors import UntrustedDataError
from mockexport.http.body import DECODED_BYTES, HttpBody, decoded, etag_of
from mockexport.http.retry import RetryableError
from mockexport.http.transport import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWNLOAD = Download("trial", "a")
BODY = csv_body(100)


def response(body: bytes, status: int = 200, *, piece: int = 1000, **headers: str) -> httpx.Response:
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=sent, content=iter(pieces), request=httpx.Request("GET", "http://a/data"))


class Sender:
    """Answers with these responses in turn; knows how many are open."""

    def __init__(self, *responses: httpx.Response) -> None:
        self._left = iter(responses)
        self.open = 0

    @contextmanager
    def __call__(self, _headers: dict[str, str]) -> Iterator[httpx.Response]:
        self.open += 1
        try:
            yield next(self._left)
        finally:
            self.open -= 1


def test_it_knows_its_place_and_lets_go_of_the_connection_at_the_end() -> None:
    send = Sender(response(BODY))
    body = HttpBody(send, DOWNLOAD)
    assert send.open == 0
    assert body.read() == BODY[:1000]
    assert (body.position, body.ended, send.open) == (1000, False, 1)
    assert b"".join(iter(body.read, b"")) == BODY[1000:]
    assert (body.position, body.ended, send.open) == (len(BODY), True, 0)


def test_whoever_stops_lets_go_of_the_connection() -> None:
    send = Sender(response(BODY))
    body = HttpBody(send, DOWNLOAD)
    body.read()
    body.close()
    assert send.open == 0


def test_after_a_break_it_has_let_go_and_can_be_read_on() -> None:
    length = str(len(BODY))
    rest = f"bytes 1000-{len(BODY) - 1}/{length}"
    send = Sender(
        response(BODY[:1000], Content_Length=length, ETag='"a"'),
        response(BODY[1000:], 206, Content_Range=rest, ETag='"a"'),
    )
    body = HttpBody(send, DOWNLOAD)
    first = body.read()
    with pytest.raises(RetryableError, match="cut short after 1,000"):
        body.read()
    assert send.open == 0
    assert first + b"".join(iter(body.read, b"")) == BODY


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, None),
        ({"ETag": '"a"'}, '"a"'),
        ({"ETag": '""'}, '""'),
        ({"ETag": 'W/"a"'}, 'W/"a"'),
        ({"ETag": "a"}, None),
        ({"ETag": '"a'}, None),
        ({"ETag": '"a", "b"'}, None),
        ({"ETag": '"a b"'}, '"a b"'),
        ({"Last_Modified": "then"}, None),
        ({"ETag": 'W/"a"', "Last_Modified": "then"}, 'W/"a"'),
    ],
)
def test_an_etag_is_taken_as_it_was_sent_and_a_date_is_none(headers: Any, named: str | None) -> None:
    assert etag_of(response(b"", **headers)) == named


PACKED = {
    "one": gzip.compress(BODY),
    "several": gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]),
    "with an empty one": gzip.compress(b"") + gzip.compress(BODY),
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_gzip_is_undone_however_it_arrives(packed: bytes, piece: int) -> None:
    assert b"".join(decoded(response(packed, piece=piece), "gzip")) == BODY


@pytest.mark.parametrize("missing", [1, 8, 100])
def test_gzip_without_its_end_is_no_end(missing: int) -> None:
    with pytest.raises(RetryableError, match="its gzip is incomplete"):
        list(decoded(response(PACKED["one"][:-missing]), "x-gzip"))


def test_what_packs_well_comes_in_bounded_pieces_up_to_its_last_byte() -> None:
    size = 5 * DECODED_BYTES + 1
    chunks = list(decoded(response(gzip.compress(bytes(size)), piece=1 << 20), "gzip"))
    assert max(map(len, chunks)) <= DECODED_BYTES
    assert sum(map(len, chunks)) == size


@pytest.mark.parametrize("size", [DECODED_BYTES, 2 * DECODED_BYTES, 3 * DECODED_BYTES])
@pytest.mark.parametrize("piece", [1000, 1 << 20])
@pytest.mark.parametrize("members", [1, 2])
def test_a_last_block_that_fills_a_piece_is_the_end(size: int, piece: int, members: int) -> None:
    packed = gzip.compress(bytes(size)) * members
    assert b"".join(decoded(response(packed, piece=piece), "gzip")) == bytes(size) * members


def test_gzip_that_holds_nothing_is_given_up() -> None:
    endless = itertools.repeat(gzip.compress(b"") * 1000)
    sent = httpx.Response(200, content=endless, request=httpx.Request("GET", "http://a/data"))
    with pytest.raises(UntrustedDataError, match="expands to nothing"):
        list(decoded(sent, "gzip"))


@pytest.mark.gate
def test_a_bomb_is_given_up_long_before_its_end() -> None:
    seen = itertools.count()
    bomb = response(gzip.compress(bytes(100 << 20)), piece=1 << 20)
    with pytest.raises(UntrustedDataError, match="expands to more than 200 times its size"):
        deque(zip(decoded(bomb, "gzip"), seen, strict=False), maxlen=0)
    assert next(seen) * DECODED_BYTES <= 65 << 20


def test_real_data_of_any_kind_is_no_bomb() -> None:
    data = os.urandom(1 << 20) + BODY * 1000
    assert b"".join(decoded(response(gzip.compress(data, 9)), "gzip")) == data


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", ""])
def test_another_encoding_than_was_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(UntrustedDataError, match="not requested"):
        list(decoded(response(b""), encoding))
