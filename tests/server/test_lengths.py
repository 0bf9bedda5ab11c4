"""Lengths that no source declares: found out by making a body, and remembered as long as it stays the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.server.serving import get
from tests.server.sources import DeclaringSource, WatchedSource, path_of
from tests.sources import HEADER, ROW, WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.server.conftest import Serve

    from mockexport import Download
    from mockexport.source import Chunks


class FiniteSource(WatchedSource):
    """Its download has ten rows."""

    rows_made = 10

    def chunks(self) -> Chunks:
        yield HEADER
        for _ in range(self.rows_made):
            yield ROW


def test_a_body_sent_whole_tells_the_length_to_later_requests(serve: Serve) -> None:
    source = FiniteSource()
    client = serve(source)
    assert "content-length" not in get(client, "watched").headers
    assert get(client, "watched").headers["content-length"] == str(len(HEADER + ROW * 10))
    assert get(client, "watched", Range="bytes=5-").status_code == 206
    assert source.opened == 3, "nothing was made to find out what was known"


def test_an_encoded_body_tells_the_length_too(serve: Serve) -> None:
    client = serve(FiniteSource())
    get(client, "watched", Accept_Encoding="gzip")
    assert client.head(f"{path_of('watched')}/data").headers["content-length"] == str(len(HEADER + ROW * 10))


def test_a_range_of_unknown_length_has_it_found_out_once_for_all(serve: Serve) -> None:
    class MeetingSource(FiniteSource):
        """The first to open waits until the others have come, who then have to wait for its length."""

        def chunks(self) -> Chunks:
            if self.opened == 1:
                assert all_there.wait(WAIT_SECONDS)
            yield from super().chunks()

    all_there = threading.Event()
    source = MeetingSource()
    client = serve(source)
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(get, client, "watched", Range=f"bytes={first}-{first}") for first in range(5)]
        assert get(client, "other").status_code == 200
        all_there.set()
        assert [answer.result().content for answer in answers] == [HEADER[n : n + 1] for n in range(5)]
    assert source.opened == 1 + 5


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_etag_no_length_is_remembered(serve: Serve, etag: str | None) -> None:
    source = FiniteSource(etag=etag)
    client = serve(source)
    for rows in (10, 20, 5):
        source.rows_made = rows
        for method in ("GET", "HEAD", "GET"):
            answer = client.request(method, f"{path_of('watched')}/data")
            assert "content-length" not in answer.headers
            assert answer.content == (HEADER + ROW * rows if method == "GET" else b"")


def test_another_etag_has_another_length(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr("mockexport.server.ids.CACHE_SECONDS", -1.0)  # the source is asked each time

    class ChangingSource(DeclaringSource):
        def downloads(self, export: str) -> Sequence[Download]:
            self.etags = {"day": str(len(self.bodies["day"]))}
            return super().downloads(export)

    source = ChangingSource({"day": HEADER})
    client = serve(source)
    for body in (HEADER, HEADER + ROW):
        source.bodies = {"day": body}
        assert [get(client, "day").content for _ in range(2)] == [body, body]
        assert get(client, "day", Range="bytes=1-").content == body[1:]


def test_only_so_many_lengths_are_remembered(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr("mockexport.server.bodies.LENGTHS_CACHED", 2)
    names = ["a", "b", "c"]
    client = serve(MemorySourceWithTags(dict.fromkeys(names, HEADER)))
    for name in names:
        get(client, name)
    known = ["content-length" in client.head(f"{path_of(name)}/data").headers for name in names]
    assert known == [False, True, True]


class MemorySourceWithTags(DeclaringSource):
    """Every download has an etag."""

    def downloads(self, export: str) -> Sequence[Download]:
        self.etags = dict.fromkeys(self.bodies, "v1")
        return super().downloads(export)
