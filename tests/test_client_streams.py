"""HttpSource: the bytes of a download, in every way in which servers send them, whole or not."""

from __future__ import annotations

import gzip
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.bodies import COUNTS_OF_SOUND, MALFORMED, PLAIN, SOUND
from tests.pairing import pairs
from tests.scripted_http import Answer, ScriptedServer, chunked, http
from tests.sources import WAIT_SECONDS, csv_body

from mockexport import Counts, Download, UntrustedDataError, count
from mockexport.errors import NotResumableError
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bodies import Malformed

DATA = "/api/export/trial/a/data"
BODY = csv_body(10_000)
ETAG = '"these very bytes"'
CSV = "text/csv; charset=utf-8"


def closed_at_the_end(body: bytes) -> bytes:
    """The oldest way: no length, and the end is where the connection ends."""
    return b"HTTP/1.0 200 OK\r\n\r\n" + body


TRANSFERS: dict[str, Callable[[bytes], bytes]] = {
    "with a length": lambda body: http(body, Content_Type=CSV),
    "chunked": lambda body: chunked(body, Content_Type=CSV),
    "in large chunks": lambda body: chunked(body, size=1 << 20, ETag='"x"'),
    "until the connection ends": closed_at_the_end,
    "gzip that nobody asked for": lambda body: http(gzip.compress(body), Content_Encoding="gzip"),
    "gzip in chunks": lambda body: chunked(gzip.compress(body), size=7, Content_Encoding="GZIP"),
    "gzip in two parts": lambda body: http(
        gzip.compress(body[:50]) + gzip.compress(body[50:]), Content_Encoding="gzip"
    ),
}
EACH_TRANSFER = pytest.mark.parametrize("send", TRANSFERS.values(), ids=TRANSFERS.keys())


@pytest.fixture
def trusting(http_server: ScriptedServer) -> Iterator[HttpSource]:
    """The server as a source that takes the end of a connection for that of a body."""
    with closing(
        HttpSource(http_server.url, timeout=WAIT_SECONDS, retries=Retries(0), allow_unproven_end=True)
    ) as source:
        yield source


@pytest.fixture
def read(http_server: ScriptedServer, trusting: HttpSource) -> Callable[..., bytes]:
    """Read a download whose data the server answers like this."""

    def read_all(answer: Answer, offset: int = 0) -> bytes:
        http_server.answers[DATA] = answer
        return b"".join(trusting.open(Download("trial", "a", etag=ETAG if offset else None), offset))

    return read_all


# ---- Whole ----


@EACH_TRANSFER
def test_a_body_arrives_as_it_was_sent(read: Callable[..., bytes], send: Callable[[bytes], bytes]) -> None:
    assert read(send(BODY)) == BODY


@pytest.mark.parametrize(("send", "body"), pairs(TRANSFERS, SOUND))
def test_every_kind_of_sound_body_is_counted_right(
    http_server: ScriptedServer, http_source: HttpSource, send: Callable[[bytes], bytes], body: bytes
) -> None:
    http_server.has("trial", {"a": send(body)}, rows={"a": 3})
    assert count(http_source, "trial") == Counts(COUNTS_OF_SOUND)


@pytest.mark.parametrize(("send", "wrong"), pairs(TRANSFERS, MALFORMED))
def test_every_kind_of_malformed_body_fails_naming_line_and_reason(
    http_server: ScriptedServer, trusting: HttpSource, send: Callable[[bytes], bytes], wrong: Malformed
) -> None:
    http_server.has("trial", {"a": send(wrong.body)})
    with pytest.raises(UntrustedDataError) as failed:
        count(trusting, "trial")
    assert f"'a' of export 'trial' is malformed at line {wrong.line}: {wrong.reason}" in str(failed.value)


def test_data_is_asked_for_with_a_plain_get_that_wants_it_unpacked(
    http_server: ScriptedServer, read: Callable[..., bytes]
) -> None:
    read(http(BODY))
    (request,) = http_server.requests
    assert (request.method, request.target) == ("GET", DATA)
    assert request.headers["accept"] == "text/csv"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_several_downloads_are_counted_together(http_server: ScriptedServer, http_source: HttpSource) -> None:
    names = [f"d{number}" for number in range(20)]
    http_server.has("trial", dict.fromkeys(names, chunked(PLAIN)), rows=dict.fromkeys(names, 3))
    assert count(http_source, "trial").rows == 60


@pytest.mark.parametrize("declared", [2, 4])
def test_other_rows_than_declared_are_an_error_with_both_figures(
    http_server: ScriptedServer, http_source: HttpSource, declared: int
) -> None:
    http_server.has("trial", {"a": closed_at_the_end(PLAIN)}, rows={"a": declared})
    with pytest.raises(UntrustedDataError, match=f"declares {declared} rows but holds 3"):
        count(http_source, "trial")


def test_what_packs_a_lot_into_little_comes_in_small_pieces(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    bomb = gzip.compress(csv_body(0) + b"x" * 50_000_000, compresslevel=1)
    http_server.answers[DATA] = http(bomb, Content_Encoding="gzip")
    assert max(map(len, http_source.open(Download("trial", "a")))) <= 1 << 18


def test_whoever_stops_reading_leaves_no_connection_open(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers[DATA] = chunked(BODY)
    chunks = http_source.open(Download("trial", "a"))
    assert next(chunks)
    chunks.close()  # a socket left open would be a ResourceWarning, and that an error


# ---- Cut short ----


CUT: dict[str, bytes] = {
    "shorter than its length": http(BODY, Content_Length=str(len(BODY) + 1)),
    "far shorter than its length": http(BODY, Content_Length="1000000000000"),
    "nothing of its length": http(b"", Content_Length="1"),
    "no last chunk": chunked(BODY, end=b""),
    "half a last chunk": chunked(BODY, end=b"0\r\n"),
    "within a chunk": chunked(BODY, end=b"100\r\nP001"),
    "within the size of a chunk": chunked(BODY, end=b"10"),
    "within a chunk that ends a line": chunked(BODY, end=b"ffff\r\n" + PLAIN),
    "gzip, shorter than its length": http(
        gzip.compress(BODY), Content_Encoding="gzip", Content_Length=str(len(gzip.compress(BODY)) + 1)
    ),
    "gzip that has no end": http(gzip.compress(BODY)[:-1], Content_Encoding="gzip"),
    "gzip that is cut in half": chunked(gzip.compress(BODY)[: len(gzip.compress(BODY)) // 2], Content_Encoding="gzip"),
    "gzip whose second part has no end": http(gzip.compress(BODY) + gzip.compress(BODY)[:-9], Content_Encoding="gzip"),
    "nothing where gzip was promised": http(b"", Content_Encoding="gzip"),
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT.keys())
def test_a_body_that_is_cut_short_is_never_taken_for_whole(read: Callable[..., bytes], answer: bytes) -> None:
    with pytest.raises(UntrustedDataError, match=f"{DATA} was cut short"):
        read(answer)


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT.keys())
def test_a_body_that_is_cut_short_is_never_a_smaller_count(
    http_server: ScriptedServer, http_source: HttpSource, answer: bytes
) -> None:
    http_server.has("trial", {"whole": http(PLAIN), "a": answer})
    with pytest.raises(UntrustedDataError):
        count(http_source, "trial")


DAMAGED: dict[str, bytes] = {
    "no chunk": chunked(BODY, end=b"zz\r\n"),
    "no gzip": http(BODY, Content_Encoding="gzip"),
    "gzip with something behind it": http(gzip.compress(BODY) + PLAIN, Content_Encoding="gzip"),
    "gzip of another checksum": http(gzip.compress(BODY)[:-6] + b"\0" * 6, Content_Encoding="gzip"),
    "packed in an unknown way": http(BODY, Content_Encoding="snappy"),
    "packed twice": http(gzip.compress(gzip.compress(BODY)), Content_Encoding="gzip, gzip"),
}


@pytest.mark.parametrize("answer", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_body_that_is_damaged_is_never_taken_for_sound(read: Callable[..., bytes], answer: bytes) -> None:
    with pytest.raises(UntrustedDataError, match=DATA):
        read(answer)


# ---- From an offset on ----

OFFSETS = pytest.mark.parametrize("offset", [1, 1000, 200_000, len(BODY) - 1])
WHOLE_LENGTH = len(BODY)


def partial(body: bytes, content_range: str | None, **headers: str) -> bytes:
    """An answer with a part of the whole, and what it says of which."""
    if content_range is not None:
        headers["Content_Range"] = content_range
    return http(body, 206, **({"ETag": ETAG} | headers))


@OFFSETS
def test_a_server_with_ranges_is_asked_for_the_rest_of_the_same_bytes(
    http_server: ScriptedServer, read: Callable[..., bytes], offset: int
) -> None:
    answer = partial(BODY[offset:], f"bytes {offset}-{WHOLE_LENGTH - 1}/{WHOLE_LENGTH}")
    assert read(answer, offset) == BODY[offset:]
    headers = http_server.requests[-1].headers
    assert (headers["range"], headers["if-range"]) == (f"bytes={offset}-", ETAG)


@OFFSETS
@EACH_TRANSFER
def test_a_server_that_ignores_ranges_is_never_taken_for_one_that_sent_the_rest(
    read: Callable[..., bytes], send: Callable[[bytes], bytes], offset: int
) -> None:
    with pytest.raises(NotResumableError, match="not the rest of the same body"):
        read(send(BODY), offset)


@pytest.mark.parametrize(
    "content_range",
    [
        None, "", "bytes", "bytes */430039", "bytes 0-99/430039", "bytes 99-430038/430039", "bytes 101-430038/430039",
        "bytes 1000-430038/430039", "bytes 100-1000/430039", "bytes 100-430038/430040", "rows 100-430038/430039",
        "bytes=100-430038/430039", "bytes 100-/430039", "bytes 1OO-430038/430039", "bytes 100-430038/*",
        f"bytes 100-430038/{'4' * 5000}", f"bytes 100-{'4' * 5000}/430039", f"bytes {'0' * 5000}100-430038/430039",
    ],
)  # fmt: skip
def test_another_range_than_the_rest_is_refused(read: Callable[..., bytes], content_range: str | None) -> None:
    assert WHOLE_LENGTH == 430_039
    with pytest.raises(NotResumableError, match="not the rest of the same body"):
        read(partial(BODY[100:], content_range), 100)


@pytest.mark.parametrize("etag", ['"other"', f"W/{ETAG}", "", ETAG.strip('"')])
def test_a_rest_that_is_not_of_the_same_strong_etag_is_refused(read: Callable[..., bytes], etag: str) -> None:
    with pytest.raises(NotResumableError, match="not the rest of the same body"):
        read(partial(BODY[100:], f"bytes 100-{WHOLE_LENGTH - 1}/{WHOLE_LENGTH}", ETag=etag), 100)


def test_no_rest_is_asked_for_where_nothing_names_the_bytes_before(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    for etag in (None, f"W/{ETAG}"):
        with pytest.raises(NotResumableError, match="without a strong ETag the body cannot be resumed"):
            next(http_source.open(Download("trial", "a", etag=etag), 100))
    assert http_server.requests == []


def test_a_part_that_nobody_asked_for_is_refused(read: Callable[..., bytes]) -> None:
    with pytest.raises(UntrustedDataError):
        read(partial(BODY[:100], f"bytes 0-99/{WHOLE_LENGTH}"))
    with pytest.raises(UntrustedDataError):
        read(http(status=416, Content_Range=f"bytes */{WHOLE_LENGTH}"))


def test_at_the_very_end_and_only_there_nothing_more_is_the_right_answer(read: Callable[..., bytes]) -> None:
    nothing = http(status=416, Content_Range=f"bytes */{WHOLE_LENGTH}", ETag=ETAG)
    assert read(nothing, WHOLE_LENGTH) == b""
    for offset in (1, WHOLE_LENGTH - 1, WHOLE_LENGTH + 1):
        with pytest.raises(NotResumableError, match="not the rest of the same body"):
            read(nothing, offset)


def test_a_rest_that_is_cut_short_is_never_taken_for_whole(read: Callable[..., bytes]) -> None:
    length = str(WHOLE_LENGTH - 100)
    with pytest.raises(UntrustedDataError, match="was cut short"):
        read(partial(BODY[100:-1], f"bytes 100-{WHOLE_LENGTH - 1}/{WHOLE_LENGTH}", Content_Length=length), 100)
