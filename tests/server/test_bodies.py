"""The bytes of a download over HTTP: whole, in ranges, under conditions and encoded."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scripted_http import ScriptedServer, http
from tests.server.serving import PLAIN, get, serving
from tests.server.sources import DeclaringSource, WatchedSource, path_of
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, MemorySource

from mockexport.sources.http import HttpSource
from mockexport.zstd import zstd_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Serve

    from mockexport import Download
    from mockexport.source import Chunks

BODY = HEADER + b"".join(b"P%03d,2025-08-26T00:00:04Z,bp_sys,71\n" % number for number in range(300))
LENGTH = len(BODY)
NAMED = ["sized", "unsized"]  # both have a strong etag
UNNAMED = ["weak", "unnamed"]  # a weak one, and none: nothing tells whether two answers are of the same bytes
NAMES = [*NAMED, *UNNAMED]
TAG = '"v1"'
TAGS = {"sized": TAG, "unsized": TAG, "weak": 'W/"v1"', "unnamed": None}


@pytest.fixture(scope="module")
def several() -> Iterator[httpx.Client]:
    """Serve the same body several times, differently declared."""
    source = DeclaringSource(
        dict.fromkeys(NAMES, BODY),
        sizes={"sized": LENGTH, "weak": LENGTH},
        etags={"sized": "v1", "unsized": "v1", "weak": "W/v1"},
        chunk_bytes=97,
    )
    with serving(source) as url, httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN) as client:
        yield client


def test_the_made_up_exports_are_golden_to_the_byte(mock: httpx.Client, golden: Any) -> None:
    for download in golden["demo"]["downloads"].values():
        answer = mock.get(f"/api/export/demo/{download['id']}/data")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
        assert len(answer.content) == download["bytes"]
        assert hashlib.sha256(answer.content).hexdigest() == download["sha256"]


@pytest.mark.gate
def test_a_declared_length_is_told_and_an_unknown_one_means_chunks(several: httpx.Client) -> None:
    assert get(several, "sized").headers["content-length"] == str(LENGTH)
    assert get(several, "unnamed").headers["transfer-encoding"] == "chunked"


def test_a_body_says_what_can_be_asked_of_it(several: httpx.Client) -> None:
    for name in NAMES:
        headers = get(several, name).headers
        assert headers["vary"] == "Accept-Encoding"
        assert headers["accept-ranges"] == ("bytes" if name in NAMED else "none")
        assert headers.get("etag") == TAGS[name]


@pytest.mark.parametrize("body", [b"", b"x", HEADER])
def test_a_small_body_is_whole(serve: Serve, body: bytes) -> None:
    client = serve(DeclaringSource({"known": body, "unknown": body}, sizes={"known": len(body)}))
    for name in ("known", "unknown"):
        for encoding in ("identity", "gzip"):
            assert get(client, name, Accept_Encoding=encoding).content == body


def test_chunks_of_nothing_do_not_end_a_body(serve: Serve) -> None:
    class HollowSource(WatchedSource):
        def chunks(self) -> Chunks:
            yield from (b"", HEADER, b"", b"", ROW, b"")

    assert get(serve(HollowSource()), "watched").content == HEADER + ROW


# Ranges.

ends = st.none() | st.integers(0, LENGTH + 20)


@given(st.sampled_from(NAMED), st.integers(0, LENGTH + 20), ends)
def test_any_range_is_a_slice_of_the_whole(several: httpx.Client, name: str, first: int, last: int | None) -> None:
    answer = get(several, name, Range=f"bytes={first}-{'' if last is None else last}")
    if last is not None and last < first:
        assert (answer.status_code, answer.content) == (200, BODY)
    elif first >= LENGTH:
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{LENGTH}")
    else:
        expected = BODY[first:] if last is None else BODY[first : last + 1]
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{LENGTH}"
        assert answer.headers["content-length"] == str(len(expected))
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"


@given(st.sampled_from(NAMED), st.integers(0, LENGTH + 20))
def test_any_suffix_range_is_the_end_of_the_whole(several: httpx.Client, name: str, suffix: int) -> None:
    answer = get(several, name, Range=f"bytes=-{suffix}")
    if suffix == 0:
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{LENGTH}")
    else:
        assert (answer.status_code, answer.content) == (206, BODY[-suffix:])


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=x-y", "rows=0-1"])
def test_several_ranges_and_bad_ones_are_answered_with_all(several: httpx.Client, wanted: str) -> None:
    answer = get(several, "sized", Range=wanted)
    assert (answer.status_code, answer.content) == (200, BODY)


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=-5"])
def test_no_range_of_an_empty_body_can_be_had(serve: Serve, wanted: str) -> None:
    answer = get(serve(DeclaringSource({"empty": b""}, etags={"empty": "v1"})), "empty", Range=wanted)
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */0")
    assert "detail" in answer.json()


def test_a_range_of_the_made_up_exports_is_the_slice(mock: httpx.Client, golden: Any) -> None:
    download = golden["demo"]["downloads"]["1"]
    whole = mock.get(f"/api/export/demo/{download['id']}/data").content
    for start, stop in ((0, 1), (262_143, 262_145), (100_000, len(whole)), (len(whole) - 1, len(whole))):
        answer = mock.get(f"/api/export/demo/{download['id']}/data", headers={"Range": f"bytes={start}-{stop - 1}"})
        assert (answer.status_code, answer.content) == (206, whole[start:stop])


# Conditions.


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        (TAG, 206),
        ('"v2"', 200),
        ('W/"v1"', 200),
        ("v1", 200),
        ("Tue, 26 Aug 2025 00:00:00 GMT", 200),
        ('"v1-gzip"', 200),
    ],
)
def test_a_range_is_given_if_the_etag_is_still_the_same(several: httpx.Client, if_range: str, status: int) -> None:
    answer = get(several, "sized", Range="bytes=5-", If_Range=if_range)
    assert (answer.status_code, answer.content) == (status, BODY[5:] if status == 206 else BODY)


@pytest.mark.parametrize("name", UNNAMED)
@pytest.mark.parametrize("if_range", [None, TAG, 'W/"v1"', "v1", "Tue, 26 Aug 2025 00:00:00 GMT"])
def test_without_a_strong_etag_no_range_is_given(several: httpx.Client, name: str, if_range: str | None) -> None:
    answer = get(several, name, Range="bytes=5-", **({"If-Range": if_range} if if_range else {}))
    assert (answer.status_code, answer.content) == (200, BODY)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("etag", ["W/", 'W/"v1"', "W/with space", 'W/W/"v1"'])
def test_a_weak_etag_of_the_source_stays_weak(serve: Serve, etag: str) -> None:
    client = serve(DeclaringSource({"a": BODY}, etags={"a": etag}))
    tags = {encoding: get(client, "a", Accept_Encoding=encoding).headers["etag"] for encoding in ("identity", "gzip")}
    assert [re.fullmatch('W/"[!#-~]*"', tag) is not None for tag in tags.values()] == [True, True]
    assert len(set(tags.values())) == 2, "each encoding has one of its own"
    for encoding, tag in tags.items():
        for same in (tag, tag.removeprefix("W/")):  # the comparison is the weak one (RFC 9110, 13.1.2)
            assert get(client, "a", Accept_Encoding=encoding, If_None_Match=same).status_code == 304


@pytest.mark.parametrize("condition", [TAG, f"W/{TAG}", f'"v0", {TAG}', "*"])
def test_who_has_the_body_already_gets_none(several: httpx.Client, condition: str) -> None:
    for method in ("GET", "HEAD"):
        answer = several.request(method, f"{path_of('sized')}/data", headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", TAG)


def test_who_has_another_body_gets_this_one(several: httpx.Client) -> None:
    assert get(several, "sized", If_None_Match='"v0"').content == BODY
    assert get(several, "unnamed", If_None_Match=TAG).content == BODY


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", [TAG, f'"v0", {TAG}', "*"])
def test_who_wants_these_bytes_alone_gets_them(several: httpx.Client, condition: str, method: str) -> None:
    answer = several.request(method, f"{path_of('sized')}/data", headers={"If-Match": condition})
    assert (answer.status_code, answer.content) == (200, BODY if method == "GET" else b"")
    assert get(several, "sized", If_Match=condition, Range="bytes=5-").content == BODY[5:]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", ['"v0"', f"W/{TAG}", "", "v1"])
def test_who_wants_other_bytes_alone_is_answered_412(several: httpx.Client, condition: str, method: str) -> None:
    answer = several.request(method, f"{path_of('sized')}/data", headers={"If-Match": condition})
    assert (answer.status_code, answer.headers["etag"]) == (412, TAG)
    assert method == "HEAD" or answer.json() == {"detail": "If-Match does not name the ETag of these bytes"}
    assert get(several, "sized", If_Match=condition, Range="bytes=5-").status_code == 412


def test_a_body_without_an_etag_matches_a_star_alone(several: httpx.Client) -> None:
    assert get(several, "unnamed", If_Match="*").content == BODY
    assert get(several, "unnamed", If_Match=TAG).status_code == 412


def test_a_weak_etag_matches_no_condition_that_wants_these_bytes_alone(serve: Serve) -> None:
    client = serve(DeclaringSource({"a": BODY}, etags={"a": 'W/"v1"'}))
    tag = get(client, "a").headers["etag"]
    assert get(client, "a", If_Match=tag).status_code == get(client, "a", If_Match=tag[2:]).status_code == 412


def test_if_match_goes_before_if_none_match(several: httpx.Client) -> None:
    assert get(several, "sized", If_Match=TAG, If_None_Match=TAG).status_code == 304
    assert get(several, "sized", If_Match='"v0"', If_None_Match=TAG).status_code == 412


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_if_match_names_the_etag_of_the_encoding_that_is_sent(several: httpx.Client, encoding: str) -> None:
    tag = get(several, "sized", Accept_Encoding=encoding).headers["etag"]
    assert get(several, "sized", Accept_Encoding=encoding, If_Match=tag).status_code == 200
    assert get(several, "sized", Accept_Encoding=encoding, If_Match=TAG).status_code == 412


@pytest.mark.parametrize("name", ["sized", "unnamed"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd", "gzip;q=0.5, zstd;q=0.1", "br"])
def test_head_has_the_headers_that_get_has_with_the_same_accept_encoding(
    several: httpx.Client, encoding: str, name: str
) -> None:
    path, headers = f"{path_of(name)}/data", {"Accept-Encoding": encoding}
    head, got = several.head(path, headers=headers), several.get(path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    left_out = {"date", "transfer-encoding"}  # the latter is about the body that HEAD has not
    assert {name: head.headers[name] for name in head.headers.keys() - left_out} == {
        name: got.headers[name] for name in got.headers.keys() - left_out
    }


def test_a_condition_goes_before_a_range(several: httpx.Client) -> None:
    assert get(several, "sized", If_None_Match=TAG, Range="bytes=5-").status_code == 304


DATE = "Sat, 01 Nov 2025 00:00:00 GMT"
NAMELESS: dict[str, dict[str, Any]] = {
    "weak": {"ETag": 'W/"v1"'},
    "date": {"Last-Modified": DATE, "Date": DATE},
    "nothing": {},
}


@pytest.mark.parametrize("named", NAMELESS)
def test_what_another_server_does_not_name_strongly_gets_no_strong_etag_on_the_way(named: str) -> None:
    """A date is none: two versions may be of one second (RFC 9110, section 8.8.2.2)."""
    download = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"
    data = f"/api/export/{EXPORT}/{download}/data"
    with ScriptedServer() as behind:
        behind.has(EXPORT, {download: http(BODY, **NAMELESS[named])})
        behind.heads[data] = http(b"", **NAMELESS[named] | {"Content-Length": str(LENGTH)})
        with closing(HttpSource(behind.url)) as source, serving(source) as url:
            answer = httpx.get(url + data, headers=PLAIN | {"Range": "bytes=5-"}, timeout=WAIT_SECONDS, trust_env=False)
    assert (answer.status_code, answer.content) == (200, BODY)
    assert not answer.headers.get("etag", "").startswith('"')


# Encodings.


def decoded(encoding: str, body: bytes) -> bytes:
    return gzip.decompress(body) if encoding == "gzip" else bytes(zstd_module().decompress(body))


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("name", NAMES)
def test_an_encoded_body_decodes_to_the_same_bytes(several: httpx.Client, name: str, encoding: str) -> None:
    with several.stream("GET", f"{path_of(name)}/data", headers={"Accept-Encoding": encoding}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-length" not in answer.headers
    assert len(body) < LENGTH
    assert decoded(encoding, body) == BODY


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_an_encoded_body_has_an_etag_of_its_own(several: httpx.Client, encoding: str) -> None:
    tag = f'"v1-{encoding}"'
    assert get(several, "sized", Accept_Encoding=encoding).headers["etag"] == tag
    assert get(several, "sized", Accept_Encoding=encoding, If_None_Match=tag).status_code == 304
    assert get(several, "sized", Accept_Encoding=encoding, If_None_Match=TAG).status_code == 200


def test_a_range_is_never_encoded(several: httpx.Client) -> None:
    for wanted, expected in (("bytes=5-", BODY[5:]), ("nonsense", BODY)):
        answer = get(several, "sized", Range=wanted, Accept_Encoding="gzip, identity;q=0")
        assert "content-encoding" not in answer.headers
        assert (answer.content, answer.headers["etag"]) == (expected, TAG)


def test_several_lines_of_a_header_are_one(several: httpx.Client) -> None:
    lines = [("Accept-Encoding", "gzip"), ("Accept-Encoding", "identity;q=0.5")]
    with httpx.Client(base_url=several.base_url, headers=lines) as client:
        assert client.get(f"{path_of('sized')}/data").headers["content-encoding"] == "gzip"


# Many at once.


def test_downloads_at_once_are_made_at_once(serve: Serve) -> None:
    class MeetingSource(MemorySource):
        """Goes on once four are there."""

        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            meeting.wait(WAIT_SECONDS)
            yield from super().open(download, offset)

    meeting = threading.Barrier(4)
    client = serve(MeetingSource({f"day-{day}": HEADER for day in range(4)}))
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(get, client, f"day-{day}") for day in range(4)]
        assert [answer.result().content for answer in answers] == [HEADER] * 4


@pytest.mark.gate
def test_more_clients_than_workers_all_get_theirs(serve: Serve) -> None:
    client = serve(MemorySource({"day": BODY}, chunk_bytes=100))
    with ThreadPoolExecutor(64) as threads:
        answers = [threads.submit(get, client, "day") for _ in range(128)]
        assert all(answer.result().content == BODY for answer in answers)


def test_the_export_of_the_tests_is_the_one_served(several: httpx.Client) -> None:
    assert several.get("/api/export").json() == {"data": {"export_ids": [EXPORT]}}
