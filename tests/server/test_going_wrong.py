"""Clients that go away, sources that fail in the middle, and shutting down: nobody is left behind or misled."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.server.serving import ask, running
from tests.server.sources import FailingSource, StuckSource, WatchedSource, path_of
from tests.sources import HEADER, ROW, WAIT_SECONDS, MemorySource

from mockexport.errors import MockExportError, NotFoundError, UnreachableError, UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import Serve

    from mockexport import Download
    from mockexport.source import Chunks

MEBIBYTE = 1 << 20
UNTRUSTED = UntrustedDataError("the file can't be unpacked")


def url_of(client: httpx.Client) -> str:
    return str(client.base_url)


def hang_up(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)
    client.close()


# Clients that go away.


@pytest.mark.parametrize("headers", [(), ("Accept-Encoding: gzip",), ("Accept-Encoding: zstd",)])
def test_a_client_that_goes_away_stops_the_making(serve: Serve, headers: tuple[str, ...]) -> None:
    source = WatchedSource()
    client = ask(url_of(serve(source)), "watched", *headers)
    assert client.recv(1000)
    hang_up(client)
    assert source.closed.wait(WAIT_SECONDS)


def test_a_client_that_never_reads_and_goes_away_stops_the_making(serve: Serve) -> None:
    source = WatchedSource()
    client = ask(url_of(serve(source)), "watched")
    assert source.some_made.wait(WAIT_SECONDS)
    hang_up(client)
    assert source.closed.wait(WAIT_SECONDS)


def test_a_client_that_goes_away_stops_the_search_for_a_length(serve: Serve) -> None:
    source = WatchedSource()
    client = ask(url_of(serve(source)), "watched", "Range: bytes=0-0")
    assert source.some_made.wait(WAIT_SECONDS)
    hang_up(client)
    assert source.closed.wait(WAIT_SECONDS)


def test_another_takes_over_the_search_for_a_length(serve: Serve) -> None:
    class FirstEndless(WatchedSource):
        def chunks(self) -> Chunks:
            if self.opened == 1:
                yield from super().chunks()
            yield HEADER

    source = FirstEndless()
    client = serve(source)
    first = ask(url_of(client), "watched", "Range: bytes=0-0")
    assert source.some_made.wait(WAIT_SECONDS)
    second = ask(url_of(client), "watched", "Range: bytes=0-6")
    hang_up(first)
    with second:
        answer = http.client.HTTPResponse(second)
        answer.begin()
        assert (answer.status, answer.read()) == (206, HEADER[:7])


@pytest.mark.gate
def test_a_client_that_does_not_read_is_not_made_for(
    serve: Serve, eventually: Callable[[Callable[[], object]], None]
) -> None:
    source = WatchedSource()
    with ask(url_of(serve(source)), "watched"):
        assert source.some_made.wait(WAIT_SECONDS)
        seen = [-1]

        def no_more_is_made() -> bool:
            seen.append(source.made)
            return len(seen) > 50 and len(set(seen[-50:])) == 1  # half a second of silence

        eventually(no_more_is_made)
        assert source.made < 32 * MEBIBYTE, "more than the buffers of two sockets, and a few chunks"
        assert not source.closed.is_set()


def test_a_client_that_goes_away_while_the_source_is_stuck_is_let_go_at_once(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    source = StuckSource()
    with running(source) as (url, server):
        client = ask(url, "watched")
        assert source.stuck.acquire(timeout=WAIT_SECONDS)
        hang_up(client)
        eventually(lambda: not server.server_state.tasks)
        assert not source.closed.is_set()
        source.go_on.set()
        assert source.closed.wait(WAIT_SECONDS), "closed by the thread that was stuck in it"


@pytest.mark.gate
def test_stuck_downloads_keep_neither_health_nor_lists_waiting(serve: Serve) -> None:
    source = StuckSource()
    client = serve(source)
    with ThreadPoolExecutor(64) as threads:
        stuck = [threads.submit(client.get, f"{path_of('watched')}/data") for _ in range(64)]
        for _ in range(8):
            assert source.stuck.acquire(timeout=WAIT_SECONDS)
        assert client.get("/health").status_code == 200
        assert client.get("/api/export").status_code == 200
        assert client.get(path_of("other")).status_code == 200
        source.go_on.set()
        whole = b"".join(source.before) + ROW
        assert all(answer.result().content == whole for answer in stuck)


def test_shutting_down_cuts_running_downloads_and_closes_them() -> None:
    source = WatchedSource()
    with running(source) as (url, server):
        server.config.timeout_graceful_shutdown = 0
        with ask(url, "watched") as client:
            assert client.recv(1000)
            server.should_exit = True
            assert source.closed.wait(WAIT_SECONDS)


def test_shutting_down_does_not_wait_for_a_stuck_source() -> None:
    source = StuckSource()
    with running(source) as (url, server):
        server.config.timeout_graceful_shutdown = 0
        with ask(url, "watched"):
            assert source.stuck.acquire(timeout=WAIT_SECONDS)
            server.should_exit = True
    assert not source.closed.is_set(), "the server has ended first"
    source.go_on.set()
    assert source.closed.wait(WAIT_SECONDS)


# Sources that fail.


def many(size: int) -> list[bytes]:
    return [ROW * 1000] * (size // len(ROW * 1000))


@pytest.mark.parametrize("size", [None, 2 * MEBIBYTE])
@pytest.mark.parametrize("chunks", [[HEADER, ROW], [HEADER, *many(3 * MEBIBYTE)]])
@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}])
def test_an_error_in_mid_body_never_looks_like_the_end(
    serve: Serve, size: int | None, chunks: list[bytes], headers: dict[str, str]
) -> None:
    client = serve(FailingSource(UNTRUSTED, chunks, size))
    try:
        answer = client.get(f"{path_of('watched')}/data", headers=headers)
    except httpx.RemoteProtocolError:
        return
    assert answer.status_code >= 500, "told before anything was sent"


@pytest.mark.gate
@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=5-", "bytes=-5"])
def test_an_error_behind_the_last_byte_breaks_a_range_too(serve: Serve, wanted: str) -> None:
    chunks = [HEADER, *many(3 * MEBIBYTE), ROW]
    source = FailingSource(UNTRUSTED, chunks, sum(map(len, chunks)))
    try:
        answer = serve(source).get(f"{path_of('watched')}/data", headers={"Range": wanted})
    except httpx.RemoteProtocolError:
        return
    assert answer.status_code == 502


@pytest.mark.gate
@pytest.mark.parametrize("off_by", [1, -1, 1000, -1000, MEBIBYTE])
def test_a_source_that_declares_another_size_than_it_has_is_found_out(serve: Serve, off_by: int) -> None:
    class MisjudgingSource(WatchedSource):
        def chunks(self) -> Chunks:
            yield from self.all

        all = (HEADER, *many(3 * MEBIBYTE))

    source = MisjudgingSource(size=sum(map(len, MisjudgingSource.all)) + off_by)
    client = serve(source)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{path_of('watched')}/data")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{path_of('watched')}/data", headers={"Range": "bytes=7-"})


def test_a_broken_body_is_one_line_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = serve(FailingSource(UNTRUSTED, [HEADER, *many(3 * MEBIBYTE)]))
    with caplog.at_level(logging.WARNING), pytest.raises(httpx.RemoteProtocolError):
        client.get(f"{path_of('watched')}/data")
    (record,) = [record for record in caplog.records if record.name.startswith("mockexport")]
    assert record.getMessage() == "aborted download watched of trial: the file can't be unpacked"
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (UNTRUSTED, 502, str(UNTRUSTED)),
        (UnreachableError("gone"), 502, "gone"),
        (NotFoundError("it was there just now"), 404, "Download not found"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-5"}])
def test_an_error_before_the_first_byte_is_told(
    serve: Serve, error: MockExportError, status: int, detail: str, headers: dict[str, str]
) -> None:
    answer = serve(FailingSource(error)).get(f"{path_of('watched')}/data", headers=headers)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert "etag" not in answer.headers


def test_a_failed_download_leaves_the_server_as_it_was(serve: Serve) -> None:
    client = serve(FailingSource(UNTRUSTED, [HEADER, *many(MEBIBYTE)]))
    for _ in range(20):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{path_of('watched')}/data")
    assert client.get(f"{path_of('other')}/data").content == HEADER + ROW


def test_a_source_is_read_in_worker_threads_alone(serve: Serve) -> None:
    class AskingSource(MemorySource):
        """Notes who asks."""

        threads: set[threading.Thread] = set()  # noqa: RUF012

        def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
            try:
                self.threads.add(threading.current_thread())
                yield from super().open(download, offset)
            finally:
                self.threads.add(threading.current_thread())

    source = AskingSource({"day": HEADER + ROW})
    client = serve(source)
    for headers in ({}, {"Range": "bytes=0-5"}, {"Range": "bytes=-5"}):
        client.get(f"{path_of('day')}/data", headers=headers)
    assert source.threads
    assert all(thread.name.startswith("mockexport-body") for thread in source.threads)
