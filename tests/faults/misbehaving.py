"""Servers that go wrong as a SPEC says, in threads and on loopback."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import httpx
from tests.server.serving import PLAIN
from tests.server.sources import DeclaringSource, path_of
from tests.sources import WAIT_SECONDS, csv_body

from mockexport.server import Faults, create_app, read_faults
from mockexport.server.server import Server, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.source import Source

__all__ = ["BODY", "DATA", "ROWS", "Misbehave", "misbehaving", "misbehaving_servers"]

ROWS = 1000
BODY = csv_body(ROWS)
DATA = f"{path_of('a')}/data"

_making = threading.Lock()  # FastAPI silences warnings while it reads routes, and that is for one thread at a time


@contextmanager
def misbehaving(source: Source, spec: str, **settings: Any) -> Iterator[str]:
    """Serve a source with faults, and settings of the application; what the block gets is the URL."""
    urls: SimpleQueue[str] = SimpleQueue()
    with _making:
        application = create_app(source, **settings)
    with listen("127.0.0.1", 0) as listener:
        server = Server(Faults(application, read_faults(spec)), urls.put)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield urls.get(timeout=WAIT_SECONDS)
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


class Misbehave(Protocol):
    """Serves the downloads `a`, `b` and `c` with the faults of a SPEC; paths are relative to that server."""

    def __call__(self, spec: str, *, length: bool = False) -> httpx.Client: ...


@contextmanager
def misbehaving_servers() -> Iterator[Misbehave]:
    """Yield what starts servers, which serve until the block has ended; with `length`, they tell it."""
    with ExitStack() as stack:

        def start(spec: str, *, length: bool = False) -> httpx.Client:
            names = ["a", "b", "c"]
            source = DeclaringSource(
                dict.fromkeys(names, BODY),
                rows=dict.fromkeys(names, ROWS),
                etags=dict.fromkeys(names, "v1"),
                sizes=dict.fromkeys(names, len(BODY)) if length else {},
            )
            url = stack.enter_context(misbehaving(source, spec))
            return stack.enter_context(httpx.Client(base_url=url, timeout=WAIT_SECONDS, headers=PLAIN))

        yield start
