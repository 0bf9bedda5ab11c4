"""HttpSource holds what is sent against what was listed, and wants each end proven."""

from __future__ import annotations

import gzip
import itertools
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.commands import run_command
from tests.scripted_http import Answer, ScriptedServer, chunked, http, json
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS

from mockexport import count
from mockexport.errors import ChangedError, MockExportError, UntrustedDataError
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scripted_http import Request

ROWS = 100
BODY = HEADER + ROW * ROWS
OTHER = HEADER.replace(b"patient_id,", b"").replace(b"event_type", b"event_type,patient_id") + ROW * ROWS
DATA = f"/api/export/{EXPORT}/a/data"
WHOLE = {"P001": {"bp_sys": ROWS}}
TRIES = 2


@pytest.fixture
def source(http_server: ScriptedServer) -> Iterator[HttpSource]:
    with closing(
        HttpSource(http_server.url, timeout=WAIT_SECONDS, retries=Retries(TRIES, WAIT_SECONDS, first_wait=0.001))
    ) as source:
        yield source


def in_turn(*answers: bytes) -> Answer:
    """Answer with these in turn, and then always with the last."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))

    def answer(_request: Request, connection: socket.socket) -> None:
        connection.sendall(next(turns))

    return answer


def until_closed(body: bytes, **headers: str) -> bytes:
    """A body that ends where the connection does, and says nothing of its length."""
    names = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + names.encode() + b"\r\n" + body


def head(**headers: Any) -> bytes:
    names = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + names.encode() + b"\r\n"


def gzipped(body: bytes) -> bytes:
    return http(gzip.compress(body), Content_Encoding="gzip")


# ---- The version that was listed ----


@pytest.mark.parametrize(
    ("listed", "sent"),
    [('"a"', '"b"'), ('"a"', 'W/"a"'), ('"a"', None), ('W/"a"', 'W/"b"'), ('W/"a"', '"a"'), ('W/"a"', None)],
)
def test_data_under_another_etag_than_was_listed_is_an_error(
    http_server: ScriptedServer, source: HttpSource, listed: str, sent: str | None
) -> None:
    headers: Any = {} if sent is None else {"ETag": sent}
    http_server.has(EXPORT, {"a": http(BODY, **headers)}, {"a": ROWS})
    http_server.heads[DATA] = head(ETag=listed)
    with pytest.raises(ChangedError, match=r"changed since then, or the server's replicas differ"):
        count(source, EXPORT)
    assert http_server.asked_for().count(DATA) == 1 + TRIES


@pytest.mark.parametrize("etag", ['"a"', 'W/"a"', None])
def test_data_under_the_etag_that_was_listed_is_counted(
    http_server: ScriptedServer, source: HttpSource, etag: str | None
) -> None:
    headers: Any = {} if etag is None else {"ETag": etag}
    http_server.has(EXPORT, {"a": http(BODY, **headers)})
    http_server.heads[DATA] = head(**headers)
    assert count(source, EXPORT).patients == WHOLE


def test_a_replica_that_has_the_listed_version_is_found_by_trying_again(
    http_server: ScriptedServer, source: HttpSource
) -> None:
    http_server.has(EXPORT, {"a": in_turn(http(OTHER, ETag='"b"'), http(BODY, ETag='"a"'))}, {"a": ROWS})
    http_server.heads[DATA] = head(ETag='"a"')
    assert count(source, EXPORT).patients == WHOLE


def test_no_header_of_one_replica_stands_over_the_rows_of_another(
    http_server: ScriptedServer, source: HttpSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header is read by itself where a download is read in splits; the splits are of the version listed."""
    monkeypatch.setattr("mockexport.sources.http.SPLIT_BYTES", 1000)

    def answer(request: Request, connection: socket.socket) -> None:
        asked = request.headers.get("range")
        if asked is None:  # the other replica, whose columns stand in another order
            connection.sendall(http(OTHER, ETag='"b"'))
            return
        at = int(asked.removeprefix("bytes=").rstrip("-"))
        connection.sendall(http(BODY[at:], 206, ETag='"a"', Content_Range=f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"))

    http_server.has(EXPORT, {"a": answer})
    http_server.heads[DATA] = head(ETag='"a"', Accept_Ranges="bytes", Content_Length=len(BODY))
    with pytest.raises(ChangedError):
        count(source, EXPORT)


@pytest.mark.parametrize("send", [http, chunked, until_closed, gzipped])
@pytest.mark.parametrize("rows", [-1, 1], ids=["fewer", "more"])
@pytest.mark.parametrize("etag", [{}, {"ETag": '"a"'}], ids=["no etag", "etag"])
def test_another_length_than_was_listed_is_an_error(
    http_server: ScriptedServer, source: HttpSource, send: Any, rows: int, etag: dict[str, str]
) -> None:
    sent = send(BODY + ROW * rows if rows > 0 else BODY[: -len(ROW)])
    sent = sent.replace(b"\r\n", b'\r\nETag: "a"\r\n', 1) if etag else sent
    http_server.has(EXPORT, {"a": sent})
    http_server.heads[DATA] = head(Content_Length=len(BODY), **etag)
    with pytest.raises(MockExportError, match=r"bytes|cut short|cannot be resumed") as failed:
        count(source, EXPORT)
    assert failed.value.exit_code in (5, 6)


# ---- Ends ----


def test_an_end_that_nothing_proves_is_an_error(http_server: ScriptedServer, source: HttpSource) -> None:
    http_server.has(EXPORT, {"a": until_closed(BODY)})
    with pytest.raises(UntrustedDataError, match=r"nothing proves .* allow_unproven_end=True"):
        count(source, EXPORT)


@pytest.mark.parametrize("answer", [until_closed(BODY), b"HTTP/1.0 200 OK\r\n\r\n" + BODY], ids=["1.1", "1.0"])
def test_a_close_delimited_body_is_exact_where_its_rows_are_declared(
    http_server: ScriptedServer, source: HttpSource, answer: bytes
) -> None:
    http_server.has(EXPORT, {"a": answer}, {"a": ROWS})
    assert count(source, EXPORT).patients == WHOLE


def test_or_where_head_told_its_length(http_server: ScriptedServer, source: HttpSource) -> None:
    http_server.has(EXPORT, {"a": until_closed(BODY)})
    http_server.heads[DATA] = head(Content_Length=len(BODY))
    assert count(source, EXPORT).patients == WHOLE


@pytest.mark.parametrize("cut", [len(ROW), len(ROW) + 1, len(ROW) * (ROWS - 1)])
def test_a_cut_at_a_row_end_is_seen_by_the_length_that_head_told(
    http_server: ScriptedServer, source: HttpSource, cut: int
) -> None:
    http_server.has(EXPORT, {"a": in_turn(until_closed(BODY[:-cut]), until_closed(BODY))})
    http_server.heads[DATA] = head(Content_Length=len(BODY))
    assert count(source, EXPORT).patients == WHOLE
    assert http_server.asked_for().count(DATA) == 2


def test_or_where_gzip_has_its_own_end(http_server: ScriptedServer, http_source: HttpSource) -> None:
    packed = until_closed(gzip.compress(BODY), Content_Encoding="gzip")
    http_server.has(EXPORT, {"a": packed})
    assert count(http_source, EXPORT).patients == WHOLE
    http_server.has(EXPORT, {"a": packed[:-1]})
    with pytest.raises(UntrustedDataError, match="its gzip is incomplete"):
        count(http_source, EXPORT)


@pytest.mark.gate
@pytest.mark.parametrize(
    "command", [("count", EXPORT), ("verify", f"{EXPORT}.json"), ("downloads", "fetch", EXPORT, "--dir", "kept")]
)
def test_each_command_that_reads_data_wants_ends_proven_unless_told_otherwise(
    http_server: ScriptedServer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / f"{EXPORT}.json").write_bytes(orjson.dumps({"patients": WHOLE, "totals": {"bp_sys": ROWS}}))
    run = [*command, "-s", http_server.url, "--retries", "0"]
    http_server.has(EXPORT, {"a": until_closed(BODY)})
    refused = run_command(tmp_path, *run)
    assert refused.code == 6, refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "--allow-unproven-end" in refused.stderr
    allowed = run_command(tmp_path, *run, "--allow-unproven-end")
    assert allowed.code == 0, allowed.stderr


def test_metadata_that_ends_with_its_connection_proves_itself(http_server: ScriptedServer, source: HttpSource) -> None:
    answer = json({"data": {"export_ids": [EXPORT]}}).partition(b"\r\n\r\n")[2]
    http_server.answers["/api/export"] = until_closed(answer)
    assert source.exports() == [EXPORT]
    http_server.answers["/api/export"] = until_closed(answer[:-1])
    with pytest.raises(UntrustedDataError):
        source.exports()
