"""HttpSource: exports, downloads and their metadata, as other servers tell of them."""

from __future__ import annotations

import gzip
import os
import pickle
import signal
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from tests.scripted_http import Answer, Request, ScriptedServer, chunked, http, json
from tests.sources import WAIT_SECONDS, csv_body

from mockexport import Download, MockExportError, NotFoundError, UntrustedDataError, UsageError
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource
from mockexport.wire import download_path, export_path

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

EXPORTS, TRIAL, DOWNLOAD = "/api/export", "/api/export/trial", "/api/export/trial/a"
STRANGE_IDS = [
    "a b",
    "a/b",
    "/etc/passwd",
    "../../x",
    "..",
    ".",
    "a%2Fb",
    "%2e%2e",
    "a?b=c",
    "a#b",
    "ü",
    "患者",
    "a\nb: c",
]


def endless(start: bytes, more: bytes) -> Answer:
    """A body that never ends."""

    def answer(_request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + start)
        while True:
            connection.sendall(more)

    return answer


# ---- What is asked for, and what is read ----


def test_exports_and_downloads_come_in_the_order_of_the_server(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    names = [f"d{number}" for number in range(40, 0, -1)]
    http_server.has("trial", dict.fromkeys(names, b""), rows={"d7": 7})
    http_server.answers[EXPORTS] = json({"data": {"export_ids": ["trial", "demo", "another"]}})
    assert http_source.exports() == ["trial", "demo", "another"]
    downloads = list(http_source.downloads("trial"))
    assert [download.id for download in downloads] == names
    assert [download for download in downloads if download.rows is not None] == [Download("trial", "d7", rows=7)]


def test_metadata_is_what_the_server_declares(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers[TRIAL] = json({"data": {"id": "trial", "download_ids": ["a"]}})
    http_server.answers[DOWNLOAD] = json(
        {
            "data": {
                "id": "a", "rows": 9014, "event_types": ["bp_sys", "bp_dia"], "patients": ["P001", "P004"],
                "start_time": "2025-08-26T00:00:00", "end_time": "2025-08-26T17:31:38",
            }
        }
    )  # fmt: skip
    start, end = datetime(2025, 8, 26, tzinfo=UTC), datetime(2025, 8, 26, 17, 31, 38, tzinfo=UTC)
    assert list(http_source.downloads("trial")) == [
        Download("trial", "a", 9014, ("bp_sys", "bp_dia"), ("P001", "P004"), start, end)
    ]


def test_a_download_has_the_etag_of_its_data_as_it_was_sent_and_most_have_none(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.has("trial", dict.fromkeys("abcd", b""))
    etags = {"a": '"x"', "b": 'W/"x"', "c": "", "d": "x"}
    http_server.heads = {
        f"{TRIAL}/{name}/data": http(ETag=etag, Last_Modified="Tue, 26 Aug 2025 00:00:00 GMT")
        for name, etag in etags.items()
    }
    assert [download.etag for download in http_source.downloads("trial")] == ['"x"', 'W/"x"', None, None]


RANGES = {"ETag": '"x"', "Accept-Ranges": "bytes", "Content-Length": "3000000000"}


@pytest.mark.parametrize(
    ("missing", "in_pieces"),
    [
        ({}, True),
        ({"ETag": 'W/"x"'}, False),
        ({"ETag": None}, False),
        ({"ETag": None, "Last-Modified": "Tue, 26 Aug 2025 00:00:00 GMT"}, False),  # two changes in one second
        ({"Accept-Ranges": "none"}, False),
        ({"Accept-Ranges": None}, False),
        ({"Content-Length": None}, False),
        ({"Content-Encoding": "gzip"}, False),
    ],
)
def test_a_download_may_be_read_in_pieces_where_any_of_these_very_bytes_can_be_asked_for(
    http_server: ScriptedServer, http_source: HttpSource, missing: dict[str, str | None], in_pieces: bool
) -> None:
    http_server.has("trial", {"a": b""})
    headers = {name: value for name, value in (RANGES | missing).items() if value is not None}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    http_server.heads[f"{DOWNLOAD}/data"] = f"HTTP/1.1 200 OK\r\n{head}\r\n".encode()
    (download,) = http_source.downloads("trial")
    assert download.split_size == (1 << 30 if in_pieces else None)
    assert download.size == (None if missing.keys() & {"Content-Length", "Content-Encoding"} else 3_000_000_000)


def test_a_head_that_tells_no_bytes_tells_nothing(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.has("trial", {"a": http(csv_body(3))})
    http_server.heads[f"{DOWNLOAD}/data"] = http(ETag='"x"', Accept_Ranges="bytes")
    (download,) = http_source.downloads("trial")
    assert (download.etag, download.size, download.split_size) == ('"x"', None, None)


def test_every_request_for_json_is_a_get_that_says_who_asks(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.has("trial", {"a": b""})
    http_source.exports()
    list(http_source.downloads("trial"))
    *asked, head = http_server.requests
    assert (head.method, head.target) == ("HEAD", f"{DOWNLOAD}/data")  # for its ETag
    assert [request.target for request in asked] == [EXPORTS, TRIAL, DOWNLOAD]
    for request in asked:
        assert request.method == "GET"
        assert request.headers["accept"] == "application/json"
        assert request.headers["user-agent"].startswith("mockexport/")


@pytest.mark.parametrize("answer", [http, chunked, lambda body: http(gzip.compress(body), Content_Encoding="gzip")])
def test_json_may_come_in_any_transfer(
    http_server: ScriptedServer, http_source: HttpSource, answer: Callable[[bytes], bytes]
) -> None:
    http_server.answers[EXPORTS] = answer(b'\n{"data": {"export_ids": ["demo"]}, "more": []}\n')
    assert http_source.exports() == ["demo"]


def test_the_url_may_have_a_path(http_server: ScriptedServer) -> None:
    http_server.answers["/base/v1/api/export"] = json({"data": {"export_ids": ["demo"]}})
    with closing(HttpSource(f"{http_server.url}/base/v1/")) as source:
        assert source.exports() == ["demo"]
        assert source.name == f"{http_server.url}/base/v1"


def test_the_proxy_of_the_environment_is_honoured(http_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    http_server.answers["http://export.invalid/api/export"] = json({"data": {"export_ids": ["demo"]}})
    monkeypatch.setenv("HTTP_PROXY", http_server.url)
    with closing(HttpSource("http://export.invalid", retries=Retries(0))) as source:
        assert source.exports() == ["demo"]


# ---- Strange ids ----


@pytest.mark.parametrize("name", STRANGE_IDS)
def test_a_strange_id_never_breaks_out_of_its_place_in_the_path(
    http_server: ScriptedServer, http_source: HttpSource, name: str
) -> None:
    path = download_path(name, name)
    http_server.answers[export_path(name)] = json({"data": {"download_ids": [name]}})
    http_server.answers[path] = json({"data": {"id": name}})
    http_server.answers[f"{path}/data"] = http(b"body")
    (download,) = http_source.downloads(name)
    assert b"".join(http_source.open(download)) == b"body"
    segments = [[unquote(part) for part in target.split("/")] for target in http_server.asked_for()]
    whole = ["", "api", "export", name, name, "data"]
    assert segments == [whole[:4], whole[:5], whole]


def test_an_id_too_long_for_a_url_is_refused_in_a_short_line(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.answers[TRIAL] = json({"data": {"download_ids": ["x" * 100_000]}})
    with pytest.raises(UntrustedDataError, match="cannot be requested") as failed:
        list(http_source.downloads("trial"))
    assert len(str(failed.value)) < 500


# ---- Unknown exports ----


@pytest.mark.parametrize("status", [404, 410, 422])
@pytest.mark.parametrize("name", ["demmo", ""], ids=["typo", "empty"])
def test_an_unknown_export_is_not_found_and_has_a_suggestion(
    http_server: ScriptedServer, http_source: HttpSource, status: int, name: str
) -> None:
    http_server.answers[EXPORTS] = json({"data": {"export_ids": ["demo", "small"]}})
    http_server.answers[f"{EXPORTS}/{name}"] = http(b'{"detail":"Export not found"}', status)
    with pytest.raises(NotFoundError) as failed:
        list(http_source.downloads(name))
    hint = "did you mean 'demo'?" if name else "it has demo, small"
    assert str(failed.value) == f"no export {name!r} in {http_server.url}; {hint}"


def test_a_download_that_the_list_names_and_the_server_lacks_is_not_found(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.answers[TRIAL] = json({"data": {"download_ids": ["a"]}})
    with pytest.raises(NotFoundError, match=f"{http_server.url}{DOWNLOAD} answered 404"):
        list(http_source.downloads("trial"))


# ---- Answers that make no sense ----


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>Welcome</html>", b"{", b"\xff\xff", b"[1", b"[" * 100_000, b"null", b"[]", b"{}", b'{"data": []}',
        b'{"data": {"export_ids": null}}', b'{"data": {"export_ids": [7]}}', b'{"data": {"export_ids": ["a", "a"]}}',
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_of_exports_is_refused_and_named(
    http_server: ScriptedServer, http_source: HttpSource, body: bytes
) -> None:
    http_server.answers[EXPORTS] = http(body)
    with pytest.raises(UntrustedDataError, match=f"{http_server.url}{EXPORTS}") as failed:
        http_source.exports()
    assert str(failed.value).isprintable()


@pytest.mark.parametrize(
    "fields",
    [{"id": "b"}, {"rows": "7"}, {"rows": -7}, {"patients": "P1"}, {"event_types": [1]}, {"start_time": "today"}],
)
def test_metadata_with_a_wrong_field_is_refused_and_named(
    http_server: ScriptedServer, http_source: HttpSource, fields: dict[str, object]
) -> None:
    http_server.answers[TRIAL] = json({"data": {"download_ids": ["a"]}})
    http_server.answers[DOWNLOAD] = json({"data": {"id": "a", **fields}})
    with pytest.raises(UntrustedDataError, match=f"{http_server.url}{DOWNLOAD}"):
        list(http_source.downloads("trial"))


def test_json_without_end_is_given_up(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.answers[EXPORTS] = endless(b'{"data": {"export_ids": ["', b"x" * (1 << 20))
    with pytest.raises(UntrustedDataError, match="sent more than 67,108,864 bytes of JSON"):
        http_source.exports()


@pytest.mark.gate
def test_packed_json_is_given_up_at_the_same_size(http_server: ScriptedServer, http_source: HttpSource) -> None:
    bomb = gzip.compress(b'{"data": {"export_ids": ["' + b"x" * 200_000_000, compresslevel=1)
    http_server.answers[EXPORTS] = http(bomb, Content_Encoding="gzip")
    with pytest.raises(UntrustedDataError):
        http_source.exports()


# ---- URLs ----


@pytest.mark.parametrize(
    "url",
    [
        "http://", "http:///x", "http://[::1", "http://host:port", "http://a..b", "http://xn--", "http://\x00",
        f"http://{'a' * 70}.com", "http://user:secret@host", "http://host?x=1", "http://host/#x",
        "http://" + "a" * 70_000,
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_a_usage_error_before_anything_is_sent(url: str) -> None:
    with pytest.raises(UsageError) as failed:
        HttpSource(url)
    assert "secret" not in str(failed.value)
    assert str(failed.value).isprintable()


# ---- Travel, and Ctrl-C ----


def test_a_source_travels_as_its_url_and_opens_connections_of_its_own(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.answers[EXPORTS] = json({"data": {"export_ids": ["demo"]}})
    http_source.exports()
    packed = pickle.dumps(http_source)
    assert len(packed) < 300
    with closing(pickle.loads(packed)) as again:
        assert again.name == http_source.name
        assert again.exports() == ["demo"]


def test_ctrl_c_does_not_wait_for_metadata_that_does_not_come(
    http_server: ScriptedServer, http_source: HttpSource
) -> None:
    http_server.answers[TRIAL] = json({"data": {"download_ids": ["a", "b"]}})
    for name in ("a", "b"):
        http_server.answers[f"{TRIAL}/{name}"] = http_server.stall_after(b"HTTP/1.1 200 OK\r\n")

    def interrupt() -> None:
        assert http_server.stalled.wait(WAIT_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(http_source.downloads("trial"))
    assert time.monotonic() - started < WAIT_SECONDS / 2
    thread.join()
    http_source.close()


def test_an_error_of_one_download_is_the_error_of_all(http_server: ScriptedServer, http_source: HttpSource) -> None:
    http_server.has("trial", dict.fromkeys(map(str, range(30)), b""))
    http_server.answers[f"{TRIAL}/3"] = http(b"oops", 500)
    with pytest.raises(MockExportError, match=f"{TRIAL}/3 answered 500"):
        list(http_source.downloads("trial"))
