"""A body that breaks off and is gone on with: the bytes that arrive are one body, whole, or there is an error."""

from __future__ import annotations

import gzip
import itertools
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.pairing import by_default
from tests.scripted_http import Request, ScriptedServer, http, json
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS

from mockexport import Download, count
from mockexport.errors import MockExportError, NotResumableError, UntrustedDataError
from mockexport.http.retry import Retries
from mockexport.pipeline.reading import RESTARTS
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

ROWS = 100
BODY = HEADER + ROW * ROWS
HALF = len(BODY) // 2
DATE = "Tue, 26 Aug 2025 12:00:30 GMT"
RETRIES = Retries(2, WAIT_SECONDS, first_wait=0.001)
WHOLE = {"P001": {"bp_sys": ROWS}}


def whole(**headers: Any) -> bytes:
    return http(BODY, **headers)


def broken(at: int = HALF, **headers: Any) -> bytes:
    """All of it is announced, and so much of it sent."""
    answer = whole(**headers)
    return answer[: len(answer) - len(BODY) + at]


def rest(at: int = HALF, *, sent: int | None = None, **headers: Any) -> bytes:
    """The rest from a byte on, or so much of it."""
    headers.setdefault("Content_Range", f"bytes {at}-{len(BODY) - 1}/{len(BODY)}")
    answer = http(BODY[at:], 206, **headers)
    return answer if sent is None else answer[: len(answer) - (len(BODY) - at) + sent]


@dataclass
class Play:
    """Answers the requests for one download's data in turn, and all further ones by the last answer."""

    server: ScriptedServer
    asked: list[Request] = field(default_factory=list)

    def answers(self, *answers: bytes) -> None:
        turns = itertools.chain(answers, itertools.repeat(answers[-1]))

        def answer(request: Request, connection: socket.socket) -> None:
            self.asked.append(request)
            connection.sendall(next(turns))

        self.server.has(EXPORT, {"a": answer}, {"a": ROWS})

    def asked_from(self) -> list[tuple[str | None, str | None]]:
        """The range that each request asked for, and what it named the bytes."""
        return [(request.headers.get("range"), request.headers.get("if-range")) for request in self.asked]


@pytest.fixture
def play(http_server: ScriptedServer) -> Play:
    return Play(http_server)


@pytest.fixture
def source(http_server: ScriptedServer) -> Iterator[HttpSource]:
    with closing(HttpSource(http_server.url, timeout=WAIT_SECONDS, retries=RETRIES)) as source:
        yield source


def read(source: HttpSource) -> bytes:
    with closing(source.open(Download(EXPORT, "a"))) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("headers", [{"ETag": '"a"'}, {"ETag": '"a"', "Last_Modified": DATE}], ids=["etag", "both"])
@pytest.mark.parametrize("at", [1, HALF, len(BODY) - 1])
def test_the_rest_is_asked_for_by_the_strong_etag_of_the_bytes(
    play: Play, source: HttpSource, headers: Any, at: int
) -> None:
    play.answers(broken(at, **headers), rest(at, **headers))
    assert read(source) == BODY
    assert play.asked_from() == [(None, None), (f"bytes={at}-", '"a"')]


def test_a_break_before_the_first_byte_asks_for_all_of_it(play: Play, source: HttpSource) -> None:
    play.answers(broken(0), whole())
    assert read(source) == BODY
    assert play.asked_from() == [(None, None)] * 2


def test_a_rest_may_break_off_too(play: Play, source: HttpSource) -> None:
    play.answers(broken(ETag='"a"'), rest(sent=50, ETag='"a"'), rest(HALF + 50, ETag='"a"'))
    assert read(source) == BODY
    assert [asked for asked, _ in play.asked_from()] == [None, f"bytes={HALF}-", f"bytes={HALF + 50}-"]


HEAD = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nETag: "a"\r\n\r\n'
ENDLESS = HEAD + b"%x\r\n%s\r\n" % (len(BODY), BODY)  # all of it, and no last chunk


def test_nothing_is_left_to_ask_for_when_all_arrived_without_its_end(play: Play, source: HttpSource) -> None:
    play.answers(ENDLESS, http(b"", 416, Content_Range=f"bytes */{len(BODY)}", ETag='"a"'))
    assert read(source) == BODY
    assert play.asked_from()[1] == (f"bytes={len(BODY)}-", '"a"')


WHOLE_RANGE: Any = {"Content_Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}"}
NAMED: Any = {"ETag": '"a"'}
NO_REST = {
    "all of it": whole(**NAMED),
    "another place": rest(HALF + 1, **NAMED),
    "an earlier place": rest(HALF - 1, **NAMED),
    "another length": rest(Content_Range=f"bytes {HALF}-{len(BODY)}/{len(BODY) + 1}", **NAMED),
    "less than the rest": rest(Content_Range=f"bytes {HALF}-{HALF + 9}/{len(BODY)}", **NAMED),
    "less, as if it were all": rest(Content_Range=f"bytes {HALF}-{HALF + 9}/{HALF + 10}", **NAMED),
    "the rest of an unknown length": rest(Content_Range=f"bytes {HALF}-{len(BODY) - 1}/*", **NAMED),
    "less than the rest of an unknown length": rest(Content_Range=f"bytes {HALF}-{HALF + 9}/*", **NAMED),
    "no place": http(BODY[HALF:], 206, **NAMED),
    "nonsense": rest(Content_Range="bytes all/of it", **NAMED),
    "numbers without end": rest(Content_Range=f"bytes {HALF}-{'9' * 5000}/{'9' * 5000}", **NAMED),
    "another etag": rest(ETag='"b"'),
    "a weak etag": rest(ETag='W/"a"'),
    "no etag": rest(),
    "a date": rest(Last_Modified=DATE),
    "packed": rest(Content_Encoding="gzip", **NAMED),
    "no bytes there": http(b"", 416, Content_Range=f"bytes */{HALF - 1}", **NAMED),
    "no bytes there any more": http(b"", 416, Content_Range=f"bytes */{HALF}", **NAMED),
    "no bytes there in another version": http(b"", 416, Content_Range=f"bytes */{HALF}", ETag='"b"'),
    "no bytes, no length": http(b"", 416, **NAMED),
}
"""Answers to the request for the rest of the body "a" that aren't it."""
SOME = ("all of it", "another place", "less than the rest", "another etag", "no etag", "no bytes there any more")


@pytest.mark.parametrize("answer", NO_REST.values(), ids=NO_REST)
def test_what_is_not_the_rest_of_the_same_bytes_is_never_put_behind_them(
    play: Play, source: HttpSource, answer: bytes
) -> None:
    play.answers(broken(ETag='"a"'), answer)
    with pytest.raises(NotResumableError):
        read(source)


@pytest.mark.parametrize("answer", by_default(NO_REST, *SOME))
def test_then_it_is_counted_from_its_start(play: Play, source: HttpSource, answer: bytes) -> None:
    play.answers(broken(ETag='"a"'), answer, whole(ETag='"b"'))
    assert count(source, EXPORT).patients == WHOLE
    assert [asked for asked, _ in play.asked_from()] == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("answer", by_default(NO_REST, *SOME))
def test_then_no_smaller_count_is_taken_where_no_rows_are_declared(
    play: Play, source: HttpSource, answer: bytes
) -> None:
    play.answers(broken(**NAMED), answer, whole(ETag='"b"'))
    play.server.answers["/api/export/trial/a"] = json({"data": {"id": "a"}})
    assert count(source, EXPORT).patients == WHOLE


@pytest.mark.parametrize("length", [len(BODY) - len(ROW), len(BODY), len(BODY) + len(ROW)])
@pytest.mark.parametrize("etag", ['"b"', 'W/"a"', None])
def test_an_end_that_a_416_of_other_bytes_tells_is_none(
    play: Play, source: HttpSource, length: int, etag: str | None
) -> None:
    headers: Any = {} if etag is None else {"ETag": etag}
    play.answers(ENDLESS, http(b"", 416, Content_Range=f"bytes */{length}", **headers))
    with pytest.raises(NotResumableError):
        read(source)


DATES: list[Any] = [{"Last_Modified": DATE}, {"Last_Modified": DATE, "Date": DATE}]


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"a"'}, {"ETag": 'W/"a"', "Last_Modified": DATE}, {"ETag": "a"}, *DATES]
)
def test_where_nothing_names_the_very_bytes_it_is_counted_from_its_start(
    play: Play, source: HttpSource, headers: Any
) -> None:
    play.answers(broken(**headers), whole(**headers))
    assert count(source, EXPORT).patients == WHOLE
    assert play.asked_from() == [(None, None)] * 2


def test_a_packed_body_is_begun_anew(play: Play, source: HttpSource) -> None:
    packed = http(gzip.compress(BODY), Content_Encoding="gzip", ETag='"a"')
    play.answers(packed[:-30], packed)
    assert count(source, EXPORT).patients == WHOLE
    assert play.asked_from() == [(None, None)] * 2


def test_bytes_that_arrive_give_new_tries(play: Play, source: HttpSource) -> None:
    step = len(BODY) // 20
    breaks = [rest(at, sent=step, ETag='"a"') for at in range(step, len(BODY) - step, step)]
    play.answers(broken(step, ETag='"a"'), *breaks, rest((1 + len(breaks)) * step, ETag='"a"'))
    assert len(breaks) > RETRIES.attempts
    assert read(source) == BODY


def test_trouble_without_progress_is_bounded(play: Play, source: HttpSource) -> None:
    play.answers(broken(ETag='"a"'), rest(sent=0, ETag='"a"'))
    with pytest.raises(UntrustedDataError, match="cut short"):
        read(source)
    assert len(play.asked) == 1 + RETRIES.attempts


def test_so_are_statuses_in_the_middle_of_a_body(play: Play, source: HttpSource) -> None:
    play.answers(broken(ETag='"a"'), http(status=503))
    with pytest.raises(MockExportError, match="503"):
        read(source)
    assert len(play.asked) == 1 + RETRIES.attempts


@pytest.mark.parametrize("answer", [broken(), broken(len(BODY) - 1), broken(ETag='W/"a"')])
def test_so_are_new_starts(play: Play, source: HttpSource, answer: bytes) -> None:
    play.answers(answer)
    with pytest.raises(NotResumableError):
        count(source, EXPORT)
    assert len(play.asked) == 1 + RESTARTS


def test_without_retries_nothing_is_asked_for_twice(play: Play, http_server: ScriptedServer) -> None:
    play.answers(broken(ETag='"a"'), rest(ETag='"a"'))
    with closing(HttpSource(http_server.url, retries=Retries(0))) as source, pytest.raises(UntrustedDataError):
        read(source)
    assert play.asked_from() == [(None, None)]


def test_a_file_that_was_begun_is_gone_on_with_or_begun_anew_when_its_bytes_have_another_name(
    play: Play, source: HttpSource
) -> None:
    known = Download(EXPORT, "a", etag='"a"')
    play.answers(rest(ETag='"a"'))
    with closing(source.open(known, HALF)) as chunks:
        assert b"".join(chunks) == BODY[HALF:]
    assert play.asked_from() == [(f"bytes={HALF}-", '"a"')]
    play.answers(whole(ETag='"b"'))
    with closing(source.open(known, HALF)) as chunks, pytest.raises(NotResumableError):
        next(chunks)
