"""The service behind real HTTP on loopback, in a thread of this process; and one that refuses, fails or is slow."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
from tests.sources import WAIT_SECONDS, MemorySource

from mockexport.heartrate.export import HeartRateSource
from mockexport.heartrate.fresh import FreshReadings
from mockexport.heartrate.ingest.routes import HeartRateRoutes
from mockexport.heartrate.readings import LATEST, encode
from mockexport.heartrate.service import HeartRate
from mockexport.server import create_app
from mockexport.server.server import Server, listen
from mockexport.sources.union import UnionSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mockexport.heartrate.ingest.limits import RateLimits
    from mockexport.heartrate.readings import Point, Readings

ONE, BATCH = "/metrics/heart-rate", "/metrics/heart-rate/batch"


@contextmanager
def served(
    service: Any, data: str = "data", token: str | None = None, limits: RateLimits | None = None
) -> Iterator[httpx.Client]:
    """Serve a service's routes; the client's paths are relative to that server."""
    urls: SimpleQueue[str] = SimpleQueue()
    routes = HeartRateRoutes(service, limits)
    source = UnionSource(MemorySource({"a": b""}), HeartRateSource(data, service))
    app = create_app(source, token=token, routes=routes.router, health=routes.health)
    with listen("127.0.0.1", 0) as listener:
        server = Server(app, urls.put)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            url = urls.get(timeout=WAIT_SECONDS)
            many = httpx.Limits(max_connections=200, max_keepalive_connections=200)
            with httpx.Client(base_url=url, timeout=WAIT_SECONDS, limits=many) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


@contextmanager
def kept(folder: Path, **options: Any) -> Iterator[tuple[httpx.Client, HeartRate]]:
    """Serve a folder of readings."""
    with ExitStack() as stack:
        service = stack.enter_context(HeartRate(folder, **options))
        yield stack.enter_context(served(service, str(folder))), service


def done(error: Exception | None = None) -> Future[None]:
    future: Future[None] = Future()
    if error:
        future.set_exception(error)
    else:
        future.set_result(None)
    return future


@dataclass
class FakeService:
    """Keeps nothing, and answers as it is told to."""

    accepting: Callable[[Readings], Future[None]] = lambda _: done()
    answering: Callable[[str], list[Point]] = lambda _: []
    told: str | None = None
    accepted: list[Readings] = field(default_factory=list)
    fresh: FreshReadings = field(default_factory=FreshReadings)

    def accept(self, readings: Readings) -> Future[None]:
        self.accepted.append(readings)
        future = self.accepting(readings)
        if future.done() and not future.exception():
            self.fresh.tell([encode(readings)])
        return future

    def query(self, user: str, _start: int, _end: int, _device: str | None = None) -> list[Point]:
        return self.answering(user)

    def latest(self) -> int:
        return LATEST

    def problem(self) -> str | None:
        return self.told

    def sharing(self) -> dict[str, Any]:
        return {}

    def days(self) -> list[Any]:
        return []

    def statistics(self) -> dict[str, Any]:
        return {"pending_readings": 3, "last_error": None, "commits": 2}
