"""A server in a thread, and clients that look at the bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tests.server.sources import path_of
from tests.sources import WAIT_SECONDS

from mockexport.server import create_app
from mockexport.server.server import Server, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from mockexport.server.connections import Limits
    from mockexport.source import Source

PLAIN = {"Accept-Encoding": "identity"}


@contextmanager
def serving(source: Source, **settings: Any) -> Iterator[str]:
    """Serve a source, with settings of the application; what the block gets is the URL."""
    with running(source, **settings) as (url, _):
        yield url


@contextmanager
def running(source: Source, limits: Limits | None = None, **settings: Any) -> Iterator[tuple[str, Server]]:
    """Serve a source, with settings of the application; what the block gets is the URL, and the server itself."""
    urls: SimpleQueue[str] = SimpleQueue()
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(source, **settings), urls.put, limits)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield urls.get(timeout=WAIT_SECONDS), server
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


def ask(url: str, download: str, *headers: str) -> socket.socket:
    """Ask for a download's bytes, and leave it to the caller whether to read them."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), WAIT_SECONDS)
    lines = [f"GET {path_of(download)}/data HTTP/1.1", f"Host: {host}", *headers, "", ""]
    client.sendall("\r\n".join(lines).encode())
    return client


def get(client: httpx.Client, name: str, **headers: str) -> httpx.Response:
    """Ask for a body; an underscore in a header's name is a hyphen."""
    changed = {header.replace("_", "-"): value for header, value in headers.items()}
    return client.get(f"{path_of(name)}/data", headers=changed)
