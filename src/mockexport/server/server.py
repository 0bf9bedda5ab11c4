"""Running an application: a socket of our own, uvicorn on it, and a log of few words on stderr."""

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
from mockexport.server.log import log_to_stderr

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from starlette.types import ASGIApp

__all__ = ["Server", "listen", "run"]

ACCEPTED_AT_ONCE = 8  # asyncio accepts up to `backlog` connections before it looks at any of them
BACKLOG = 2048  # connections that wait to be accepted
SPARE = 16  # connections beyond the limit, whose requests are answered 503
GRACE_SECONDS = 3  # for running downloads, before they are cut
TURN_SECONDS = 0.0005
PORTS = range(1 << 16)


def run(app: ASGIApp, host: str, port: int, *, access_log: bool, on_listening: Callable[[str], None]) -> None:
    """Serve an application until SIGINT or SIGTERM; then the signal does what it would have done without a server.

    Port 0 picks a free one; `on_listening` is told the URL once it accepts. How many connections there may be goes by
    the number of files that the process may open. Raises UsageError for an unusable address.
    """
    with listen(host, port) as listener, log_to_stderr(access_log=access_log), _short_turns():
        Server(app, on_listening).run([listener])


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises UsageError, in one line, when that can't be done.

    Its protocol is named, or else asyncio would not turn Nagle's algorithm off, and short answers would take 40 ms.
    """
    if port not in PORTS:
        raise UsageError(f"cannot listen on {host}:{port}: a port is a number from 0 to 65535")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name like localhost is often two addresses, of which old clients only try the IPv4 one.
        family, kind, protocol, _, address = min(addresses, key=lambda found: found[0] != socket.AF_INET)
        return _bound(socket.socket(family, kind, protocol), address)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def _bound(listener: socket.socket, address: Any) -> socket.socket:
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # only now it is certain that the port is ours
    except BaseException:
        listener.close()
        raise
    return listener


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return "the port is in use; take another one, or 0 for any that is free"
    if number == errno.EACCES:
        return "ports below 1024 take special rights; take a higher one, or 0 for any that is free"
    return "that is no address of this machine; take 127.0.0.1, or 0.0.0.0 for all of its addresses"


class Server(uvicorn.Server):
    """uvicorn, with the parts named that are tested here, and with word given once it accepts."""

    def __init__(self, app: ASGIApp, on_listening: Callable[[str], None], limits: Limits | None = None) -> None:
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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and say so."""
        await super().startup(sockets)
        self._connections.look_after()
        for listener in sockets or []:
            listener.listen(BACKLOG)
            self._on_listening(_url(listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait a little for running downloads, then cut them."""
        await super().shutdown(sockets)
        self._connections.end()
        for connection in list(self.server_state.connections):
            cast("Connection", connection).break_off()  # closing it would wait for a client that doesn't read


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _short_turns() -> Generator[None, None, None]:
    """Have threads take shorter turns on the GIL.

    The event loop needs one per send, so many downloads in pure Python would keep `/health` waiting for seconds. Native
    code lets go of the GIL and doesn't care.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
