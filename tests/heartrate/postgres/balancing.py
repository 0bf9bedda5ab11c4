"""A load balancer that hands each request to the next node, and one that a node can't take to the one after it."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import httpx
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOT_HANDED_ON = {"connection", "date", "server", "transfer-encoding"}


class Handed(NamedTuple):
    """A request that a node has answered."""

    method: str
    path: str
    node: int
    status: int


class Balancer(NamedTuple):
    """Where it listens, and what it has handed on, in order."""

    url: str
    handed: list[Handed]


@contextmanager
def balancing(nodes: Sequence[str]) -> Iterator[Balancer]:
    """Run a load balancer before nodes, which are URLs; they see the `Host` that the client has sent."""
    turns = itertools.count()
    handed: list[Handed] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            turn = next(turns)
            for number in range(turn, turn + len(nodes)):
                try:
                    self.hand_on(number % len(nodes), body)
                except httpx.ConnectError:
                    continue
                return
            self.send_error(503)

        def hand_on(self, number: int, body: bytes) -> None:
            url, headers = nodes[number] + self.path, dict(self.headers.items())
            with client.stream(self.command, url, headers=headers, content=body) as answer:
                content = b"".join(answer.iter_raw())
            handed.append(Handed(self.command, self.path, number, answer.status_code))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in NOT_HANDED_ON | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(timeout=WAIT_SECONDS, trust_env=False, limits=limits) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Balancer(f"http://127.0.0.1:{server.server_port}", handed)
        finally:
            server.shutdown()
            thread.join()
