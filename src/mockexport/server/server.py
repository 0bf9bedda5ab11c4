"""Runs an application: opens the socket, and serves it with uvicorn."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from mockexport.errors import UsageError
from mockexport.server.connections import Connection, Connections, Limits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from starlette.types import ASGIApp

__all__ = ["Server", "listen", "run"]

ACCEPTED_AT_ONCE = 8  # asyncio accepts up to `backlog` connections before it serves any of them
BACKLOG = 2048  # connections that wait to be accepted
SPARE = 16  # connections above the limit, whose requests are answered 503
GRACE_SECONDS = 3  # for running downloads, before they are aborted
SWITCH_INTERVAL = 0.0005  # seconds
PORTS = range(1 << 16)


def run(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    on_listening: Callable[[str], None],
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serve an application until SIGINT or SIGTERM, which then has its usual effect.

    Port 0 selects a free port. `on_listening` is called with the URL once the server accepts connections, `on_stopping`
    before it waits for responses that are being sent. The number of connections is bounded by the number of files that
    the process may open. Raises UsageError if it can't listen.
    """
    with listen(host, port) as listener, _short_switch_interval():
        Server(app, on_listening, on_stopping=on_stopping).run([listener])


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises UsageError if that fails.

    The socket's protocol is set explicitly: without it asyncio leaves Nagle's algorithm on, and short responses take
    40 ms.
    """
    if port not in PORTS:
        raise UsageError(f"cannot listen on {host}:{port}: a port is a number from 0 to 65535")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name like localhost often has two addresses, and old clients try only the IPv4 one.
        family, kind, protocol, _, address = min(addresses, key=lambda found: found[0] != socket.AF_INET)
        return _bound(socket.socket(family, kind, protocol), address)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def _bound(listener: socket.socket, address: Any) -> socket.socket:
    try:
        if os.name == "posix":  # on Windows it would let two servers use one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # only this proves that the port is free
    except BaseException:
        listener.close()
        raise
    return listener


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return "the port is in use; choose another one, or 0 for any free port"
    if number == errno.EACCES:
        return "ports below 1024 need special rights; choose a higher one, or 0 for any free port"
    return "not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of its addresses"


class Server(uvicorn.Server):
    """A uvicorn server with bounded connections, which calls `on_listening` once it accepts."""

    def __init__(
        self,
        app: ASGIApp,
        on_listening: Callable[[str], None],
        limits: Limits | None = None,
        *,
        on_stopping: Callable[[], None] | None = None,
    ) -> None:
        limits = limits or Limits.of_process()
        self._connections = Connections(limits)
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", partial(Connection, self._connections)),
                limit_concurrency=limits.connections + SPARE,
                backlog=ACCEPTED_AT_ONCE,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._on_listening = on_listening
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections, and report the URLs."""
        await super().startup(sockets)
        self._connections.enforce_limits()
        for listener in sockets or []:
            listener.listen(BACKLOG)
            self._on_listening(_url(listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait up to `GRACE_SECONDS` for running downloads, then abort them."""
        if self._on_stopping:
            self._on_stopping()
        await super().shutdown(sockets)
        self._connections.end()
        for connection in list(self.server_state.connections):
            cast("Connection", connection).break_off()  # close() would wait for a client that does not read


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _short_switch_interval() -> Generator[None, None, None]:
    """Let threads hold the GIL for a shorter time.

    The event loop needs the GIL for each send: with many downloads made in pure Python, `/health` would wait for
    seconds. Native code releases the GIL, and is not affected.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
