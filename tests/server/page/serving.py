"""A server with the page, in a thread of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from tests.sources import WAIT_SECONDS

from mockexport.server import Page, create_app
from mockexport.server.server import Server, listen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mockexport.server import Kind
    from mockexport.source import Source


@contextmanager
def page_over(
    source: Source, kinds: Sequence[Kind] = (), fresh: Any = None, documents: Any = None, **settings: Any
) -> Iterator[tuple[httpx.Client, Page]]:
    """Serve a source with its page; the client's paths are relative to that server."""
    page = Page(source, kinds, fresh, documents)
    urls: SimpleQueue[str] = SimpleQueue()
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(source, page=page, **settings), urls.put, on_stopping=page.stop)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx.Client(base_url=urls.get(timeout=WAIT_SECONDS), timeout=WAIT_SECONDS) as client:
                yield client, page
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            page.close()
            assert not thread.is_alive()


def start(client: httpx.Client, kind: str, export: str) -> dict[str, Any]:
    """Start a run; return how it is."""
    answer = client.post("/page/runs", json={"kind": kind, "export": export})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def events_of(client: httpx.Client, path: str) -> Iterator[Any]:
    """Yield the events of a stream, as they arrive."""
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield orjson.loads(line[6:])


def ended(client: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    """Wait for a run to end; return how it is then."""
    *_, last = events_of(client, f"/page/runs/{run['id']}/events")
    return dict(last)
