"""The connections of a server: a bounded number, each with timeouts.

uvicorn bounds only how long a connection may be idle between two requests. Here, a connection that waits for a request,
that receives a request's body, and that sends a response has a timeout for each of these. If there are too many
connections, the one that has been idle for longest is closed for the newest: idle clients can't lock out others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from array import array
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
from fastapi.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import fcntl
    import resource
    import termios
except ImportError:  # Windows
    fcntl = resource = termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Connection", "Connections", "Limits"]

MOST_CONNECTIONS = 4096
CHECK_SECONDS = 1.0  # between two checks of the timeouts
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends a TCP reset
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and their timeouts, in seconds."""

    connections: int
    head: float = 20.0  # to receive the first byte of a request, and then all of its head
    request: float = 60.0  # to receive all of a request, with its body
    write: float = 120.0  # for a client to receive any bytes of a response

    @classmethod
    def of_process(cls) -> Limits:
        """Return the limits for this process: half of its file descriptors are for connections, half for files."""
        if resource is None:  # Windows has no such limit
            return cls(MOST_CONNECTIONS)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, files // 2)))


class Connections:
    """All connections of one server. Use it only from the server's event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # for a request, since when; longest first
        self._timer: asyncio.TimerHandle | None = None

    def enforce_limits(self) -> None:
        """Close connections that have timed out, now and every second until `end`."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CHECK_SECONDS, self.enforce_limits)
        now = loop.time()
        for connection in list(self._all):
            connection.check(now, self._limits)
        while (idle := self._longest_waiting(now)) and now - self._waiting[idle] > self._limits.head:
            del self._waiting[idle]
            idle.time_out()

    def end(self) -> None:
        """Stop to enforce the limits."""
        if self._timer:
            self._timer.cancel()

    def add(self, connection: Connection, now: float) -> None:
        """Add a new connection; if there are too many, close the one that has been idle for longest."""
        self._all.add(connection)
        if len(self._all) > self._limits.connections and (idle := self._longest_waiting(now)):
            logger.warning(
                "more than %d connections: closed the one that was idle for longest", self._limits.connections
            )
            del self._waiting[idle]
            idle.break_off()
        self._waiting[connection] = now

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._all.discard(connection)
        self._waiting.pop(connection, None)

    def set_idle(self, connection: Connection, now: float, *, restart: bool) -> None:
        """Note that a connection waits for a request; with `restart`, since now."""
        if restart:
            self._waiting.pop(connection, None)
        if connection in self._all:
            self._waiting.setdefault(connection, now)

    def set_busy(self, connection: Connection) -> None:
        """Note that a connection does not wait for a request."""
        self._waiting.pop(connection, None)

    def _longest_waiting(self, now: float) -> Connection | None:
        """Return the connection that has been idle for longest and whose client has received all responses."""
        for connection in list(self._waiting):
            if not connection.transport.get_write_buffer_size():
                return connection
            self.set_idle(connection, now, restart=True)
        return None


class Connection(H11Protocol):
    """A connection of uvicorn that reports its state to `connections`."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.app = partial(self._answer, self.app)
        self._connections = connections
        self._started = 0.0  # when it began to wait for its present request
        self._unsent = 0  # bytes of responses that the client has not received
        self._progress = 0.0  # when `_unsent` last changed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to watch the connection."""
        super().connection_made(transport)
        self._started = self.loop.time()
        self._connections.add(self, self._started)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive data from the client."""
        super().data_received(data)
        self._report()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._started = self.loop.time()
        self._report(restart=True)

    def resume_writing(self) -> None:
        """Continue to send: the client has received what was buffered."""
        super().resume_writing()
        self._unsent = 0

    def check(self, now: float, limits: Limits) -> None:
        """Close the connection if its request or the receipt of its response takes too long."""
        unsent = self._unsent_bytes()
        if not unsent or unsent != self._unsent:
            self._unsent, self._progress = unsent, now
        elif now - self._progress > limits.write:
            logger.warning("a client received nothing of a response for %g s: closed its connection", limits.write)
            self.break_off()
        if self.conn.their_state is h11.SEND_BODY and now - self._started > limits.request:
            self.time_out()

    def time_out(self) -> None:
        """Close the connection; answer 408 first if part of a request has arrived (RFC 9110, section 15.5.9)."""
        part_arrived = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if part_arrived and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            logger.warning("a request did not arrive in time: closed its connection")
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def break_off(self) -> None:
        """Close at once, in a way that is not taken for the end of a response.

        In HTTP/1.0, the end of the connection ends a body without a length (RFC 9112, section 6.3); a reset does not.
        """
        if self.scope and self.scope["http_version"] == "1.0" and not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 to what is not HTTP; in the middle of a response, only close the connection."""
        answering = self.cycle and not self.cycle.response_complete
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.break_off()
        if answering:  # the application's response can't be sent
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    async def _answer(self, application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; refuse ambiguous requests, and reset failed HTTP/1.0 responses."""
        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:  # may be request smuggling (RFC 9112, section 6.1)
            refusal = "A request must not have both Content-Length and Transfer-Encoding"
            await PlainTextResponse(refusal, 400, {"Connection": "close"})(scope, receive, send)
            return
        cycle = self.cycle
        try:
            await application(scope, receive, send)
        finally:
            if cycle.response_started and not cycle.response_complete and scope["http_version"] == "1.0":
                self.break_off()

    def _unsent_bytes(self) -> int:
        """Return how many bytes of responses the client has not received; 0 once the kernel has buffered them all."""
        left = self.transport.get_write_buffer_size()
        if left and fcntl:
            # The kernel buffers megabytes: whether that shrinks shows whether a slow client is still reading.
            in_kernel = array("i", [0])
            with suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
            left += in_kernel[0]
        return left

    def _report(self, *, restart: bool = False) -> None:
        if self.conn.their_state is h11.IDLE:
            self._connections.set_idle(self, self.loop.time(), restart=restart)
        else:
            self._connections.set_busy(self)
