"""Faults on request do what docs/faults.md says, as a raw client sees it."""

from __future__ import annotations

import csv
import http.client
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.faults.misbehaving import BODY, DATA, ROWS, Misbehave, misbehaving_servers
from tests.server.serving import ask
from tests.server.sources import path_of
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS

from mockexport.wire import API, export_path

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def misbehave() -> Iterator[Misbehave]:
    with misbehaving_servers() as start:
        yield start


def received(client: httpx.Client) -> tuple[bytes, type[OSError] | None]:
    """What a raw client gets as the body of download `a`, its chunks unopened, and the error that ended it."""
    got = bytearray()
    with ask(str(client.base_url).rstrip("/"), "a", "Connection: close") as raw:
        try:
            while piece := raw.recv(1 << 16):
                got += piece
        except OSError as error:
            return bytes(got.partition(b"\r\n\r\n")[2]), type(error)
    return bytes(got.partition(b"\r\n\r\n")[2]), None


def opened(chunked: bytes) -> tuple[bytes, bytes]:
    """The bytes in the whole chunks, and what is left behind them."""
    data = b""
    while (size := int(chunked.partition(b"\r\n")[0] or b"0", 16)) and (
        len(rest := chunked.partition(b"\r\n")[2]) > size
    ):
        data, chunked = data + rest[:size], rest[size + 2 :]
    return data, chunked


# Bodies that stop.


@pytest.mark.parametrize("stop", [0, 10, len(HEADER), len(HEADER) + 5 * len(ROW) + 20, 1000, 30_000])
def test_a_cut_inside_a_chunk_leaves_the_announced_bytes_out(misbehave: Misbehave, stop: int) -> None:
    raw, error = received(misbehave(f"data:cut={stop}"))
    assert error is None
    whole, rest = opened(raw)
    announced, _, begun = rest.partition(b"\r\n")
    assert whole + begun == BODY[:stop]
    assert int(announced, 16) > len(begun)


@pytest.mark.parametrize("stop", [1, len(HEADER) + 20, 30_000])
def test_a_cut_between_chunks_leaves_the_last_chunk_out(misbehave: Misbehave, stop: int) -> None:
    raw, error = received(misbehave(f"data:cut={stop},where=between"))
    assert (opened(raw), error) == ((BODY[:stop], b""), None)


@pytest.mark.parametrize("where", ["inside", "between"])
def test_a_cut_of_a_body_with_a_length_is_short_of_it(misbehave: Misbehave, where: str) -> None:
    client = misbehave(f"data:cut=777,where={where}", length=True)
    assert received(client) == (BODY[:777], None)
    assert client.head(DATA).headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("stop", [0, 777, len(BODY)])
def test_an_end_looks_like_the_true_end(misbehave: Misbehave, stop: int, *, length: bool) -> None:
    answer = misbehave(f"data:end={stop}", length=length).get(DATA)
    assert (answer.status_code, answer.content) == (200, BODY[:stop])
    assert "content-length" not in answer.headers


def test_a_stop_beyond_the_end_does_nothing(misbehave: Misbehave) -> None:
    assert misbehave(f"data:cut={len(BODY) + 1}").get(DATA).content == BODY


def test_of_two_stops_the_first_in_the_body_happens(misbehave: Misbehave) -> None:
    assert misbehave("data:cut=900;data:end=300").get(DATA).content == BODY[:300]


def test_a_reset_comes_after_the_bytes(misbehave: Misbehave) -> None:
    raw, error = received(misbehave("data:reset=5000"))
    assert error is ConnectionResetError
    assert opened(raw)[0] == BODY[:5000]


@pytest.mark.gate
def test_a_stall_sends_the_bytes_and_keeps_the_connection(misbehave: Misbehave) -> None:
    client = misbehave("data:stall=5000")
    with ask(str(client.base_url).rstrip("/"), "a") as raw:
        got = b""
        while len(opened(got.partition(b"\r\n\r\n")[2])[0] if got else b"") < 5000:
            got += raw.recv(1 << 16)
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.recv(1)
    assert client.get(API).status_code == 200


def test_a_json_answer_can_be_cut_too(misbehave: Misbehave) -> None:
    client = misbehave("exports:cut=5;export:end=5")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(API)
    assert client.get(export_path(EXPORT)).content == b'{"dat'


def test_a_connection_serves_on_after_a_clean_end(misbehave: Misbehave) -> None:
    client = misbehave("data:end=100,times=1")
    host, port = client.base_url.host, client.base_url.port
    connection = http.client.HTTPConnection(host, port, timeout=WAIT_SECONDS)
    for expected in (BODY[:100], BODY):
        connection.request("GET", DATA)
        assert connection.getresponse().read() == expected
    connection.close()


# Time.


@pytest.mark.gate
def test_a_slow_body_comes_at_about_its_rate_and_whole(misbehave: Misbehave) -> None:
    started = time.monotonic()
    answer = misbehave("data:slow=100000").get(DATA)
    assert answer.content == BODY
    assert len(BODY) / 100_000 * 0.9 < time.monotonic() - started < 10


@pytest.mark.gate
def test_latency_is_before_the_answer(misbehave: Misbehave) -> None:
    client = misbehave("export:latency=0.3")
    started = time.monotonic()
    assert client.get(export_path(EXPORT)).status_code == 200
    assert time.monotonic() - started >= 0.3


# Statuses.


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_a_status_is_answered_in_place_of_the_download(misbehave: Misbehave, status: int) -> None:
    answer = misbehave(f"data:status={status}").get(DATA)
    assert answer.status_code == status
    assert str(status) in answer.json()["detail"]
    assert "retry-after" not in answer.headers


def test_a_wait_is_told_in_seconds(misbehave: Misbehave) -> None:
    assert misbehave("any:status=429,retry-after=7").get(API).headers["retry-after"] == "7"


def test_a_wait_is_told_as_a_date(misbehave: Misbehave) -> None:
    told = misbehave("any:status=503,retry-after=date:60").get(API).headers["retry-after"]
    assert told.endswith(" GMT")
    assert timedelta(seconds=30) < parsedate_to_datetime(told) - datetime.now(UTC) <= timedelta(seconds=60)


# Lengths and rows.


def test_a_length_too_great_is_never_reached(misbehave: Misbehave) -> None:
    client = misbehave("data:length=+10", length=True)
    assert client.head(DATA).headers["content-length"] == str(len(BODY) + 10)
    assert received(client) == (BODY, None)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(DATA)


def test_a_length_too_small_ends_the_body_early(misbehave: Misbehave) -> None:
    assert misbehave("data:length=-10", length=True).get(DATA).content == BODY[:-10]


@pytest.mark.parametrize("length", [0, 100])
def test_a_length_without_a_sign_is_the_length_itself(misbehave: Misbehave, length: int) -> None:
    answer = misbehave(f"data:length={length}").get(DATA)
    assert (answer.headers["content-length"], answer.content) == (str(length), BODY[:length])


def test_a_length_with_a_sign_leaves_a_chunked_body_alone(misbehave: Misbehave) -> None:
    answer = misbehave("data:length=+10").get(DATA)
    assert "content-length" not in answer.headers
    assert answer.content == BODY


@pytest.mark.parametrize("fault", ["cut", "end", "reset"])
def test_a_wrong_length_outweighs_a_stop(misbehave: Misbehave, fault: str) -> None:
    answer = misbehave(f"data:length=100;data:{fault}=500").get(DATA)
    assert (answer.headers["content-length"], answer.content) == ("100", BODY[:100])


@pytest.mark.parametrize(("amount", "rows"), [("+5", ROWS + 5), ("-1", ROWS - 1), ("-9999", 0)])
def test_rows_are_declared_wrongly(misbehave: Misbehave, amount: str, rows: int) -> None:
    answer = misbehave(f"download:rows={amount}").get(path_of("a"))
    assert answer.json()["data"]["rows"] == rows


def test_wrong_rows_leave_all_other_answers_alone(misbehave: Misbehave) -> None:
    client = misbehave("any:rows=+5")
    assert client.get(API).json() == {"data": {"export_ids": [EXPORT]}}
    assert client.get(DATA).content == BODY
    assert client.head(path_of("a")).status_code == 200
    assert client.get(export_path("nowhere")).status_code == 404


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}])
def test_malformed_rows_come_at_their_rate_in_as_many_lines(misbehave: Misbehave, headers: dict[str, str]) -> None:
    lines = misbehave("data:malformed=0.1").get(DATA, headers=headers).content.splitlines(keepends=True)
    assert len(lines) == 1 + ROWS
    assert lines[0] == HEADER
    assert set(lines[1:]) == {ROW, ROW.replace(b",", b";", 1)}
    assert 50 < ROWS - lines.count(ROW) < 200


@pytest.mark.parametrize(("rate", "spoiled"), [("0", 0), ("1", ROWS)])
def test_no_rows_or_all_can_be_malformed(misbehave: Misbehave, rate: str, spoiled: int) -> None:
    assert ROWS - misbehave(f"data:malformed={rate}").get(DATA).content.count(ROW) == spoiled


# Ranges and ETags.


def test_a_range_is_ignored(misbehave: Misbehave) -> None:
    answer = misbehave("data:ignore-range").get(DATA, headers={"Range": "bytes=100-"})
    assert (answer.status_code, answer.content) == (200, BODY)


def test_a_range_is_told_wrongly(misbehave: Misbehave) -> None:
    answer = misbehave("data:wrong-range").get(DATA, headers={"Range": "bytes=100-199"})
    assert (answer.status_code, answer.content) == (206, BODY[100:200])
    assert answer.headers["content-range"] == f"bytes 101-200/{len(BODY)}"


def test_an_amount_counts_the_bytes_of_one_answer(misbehave: Misbehave) -> None:
    answer = misbehave("data:end=50").get(DATA, headers={"Range": "bytes=100-199"})
    assert (answer.status_code, answer.content) == (206, BODY[100:150])


def test_an_etag_changes_with_every_request(misbehave: Misbehave) -> None:
    client = misbehave("data:etag")
    assert len({client.get(DATA).headers["etag"] for _ in range(5)} | {'"v1"'}) == 6


def test_an_etag_is_made_weak(misbehave: Misbehave) -> None:
    client = misbehave("data:weak-etag")
    assert client.get(DATA).headers["etag"] == client.head(DATA).headers["etag"] == 'W/"v1"'


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=100-"}, {"Accept-Encoding": "gzip"}, {"If-None-Match": "*"}])
@pytest.mark.parametrize("length", [True, False])
def test_a_replica_has_all_rows_with_two_columns_exchanged(
    misbehave: Misbehave, headers: dict[str, str], length: bool
) -> None:
    answer = misbehave("data:replica", length=length).get(DATA, headers=headers)
    assert (answer.status_code, len(answer.content), answer.headers["etag"]) == (200, len(BODY), '"v1-replica"')
    rows, others = [list(csv.DictReader(body.decode().splitlines())) for body in (BODY, answer.content)]
    assert rows == others
    assert answer.content.startswith(b"event_type,event_time,patient_id,value\n")


def test_head_is_of_a_replica_too(misbehave: Misbehave) -> None:
    assert misbehave("data:replica").head(DATA).headers["etag"] == '"v1-replica"'


def test_no_rows_are_declared(misbehave: Misbehave) -> None:
    data = misbehave("download:no-rows").get(path_of("a")).json()["data"]
    assert (data["rows"], data["id"]) == (None, path_of("a").rpartition("/")[2])


def test_a_client_that_leaves_a_stall_leaves_nothing_behind(misbehave: Misbehave) -> None:
    client = misbehave("data:stall=0")
    raw = ask(str(client.base_url).rstrip("/"), "a")
    assert raw.recv(100)
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()
    assert client.get(API).status_code == 200
