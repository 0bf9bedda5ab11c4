"""The connections of a server: only so many, and none that keeps its place without sending or taking anything.

uvicorn bounds how long a connection may be idle between two requests, and nothing else. Here, a connection waits for a
request, takes in a request's body, or has an answer to send; each of these has its time-out. When there are too many
connections, the one that has waited longest for a request is dropped for the newest: idle ones can't lock others out.
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
LOOK_SECONDS = 1.0
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends a reset
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and how long each may take for what it does, in seconds."""

    connections: int
    head: float = 20.0  # for the first byte of a request, and for all of its head
    request: float = 60.0  # for all of a request, with its body
    taking: float = 120.0  # for a client to take anything at all of an answer

    @classmethod
    def of_process(cls) -> Limits:
        """Return the limits of this process: half of its file descriptors are for connections, the rest for files."""
        if resource is None:  # and no such limit
            return cls(MOST_CONNECTIONS)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, files // 2)))


class Connections:
    """All connections of one server. To be used from its event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # for a request, since when; the longest first
        self._timer: asyncio.TimerHandle | None = None

    def look_after(self) -> None:
        """Close what takes too long, now and each second until `end`."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self.look_after)
        now = loop.time()
        for connection in list(self._all):
            connection.check(now, self._limits)
        while (idle := self._longest_waiting(now)) and now - self._waiting[idle] > self._limits.head:
            del self._waiting[idle]
            idle.time_out()

    def end(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def add(self, connection: Connection, now: float) -> None:
        """Take a new connection in; if there are too many, another one has to go for it."""
        self._all.add(connection)
        if len(self._all) > self._limits.connections and (idle := self._longest_waiting(now)):
            logger.warning(
                "more than %d connections: dropped the one that was idle for longest", self._limits.connections
            )
            del self._waiting[idle]
            idle.break_off()
        self._waiting[connection] = now

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._all.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection, now: float, *, anew: bool) -> None:
        """Take note that a connection waits for a request: since just now if it does `anew`."""
        if anew:
            self._waiting.pop(connection, None)
        if connection in self._all:
            self._waiting.setdefault(connection, now)

    def works(self, connection: Connection) -> None:
        """Take note that a connection waits for no request."""
        self._waiting.pop(connection, None)

    def _longest_waiting(self, now: float) -> Connection | None:
        """Return the connection that has waited longest for a request, all answers to earlier ones being taken."""
        for connection in list(self._waiting):
            if not connection.transport.get_write_buffer_size():
                return connection
            self.waits(connection, now, anew=True)
        return None


class Connection(H11Protocol):
    """A connection, as uvicorn has it, that tells `connections` what it does."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.app = partial(self._answer, self.app)
        self._connections = connections
        self._asked = 0.0  # when it began to wait for the request that it is at
        self._left = 0  # bytes of answers that are yet to be taken
        self._taken = 0.0  # when this was last seen to change

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._asked = self.loop.time()
        self._connections.add(self, self._asked)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sends."""
        super().data_received(data)
        self._tell()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._asked = self.loop.time()
        self._tell(anew=True)

    def resume_writing(self) -> None:
        """Go on sending: the client has taken what was there."""
        super().resume_writing()
        self._left = 0

    def check(self, now: float, limits: Limits) -> None:
        """Break off when the rest of a request doesn't come, or nothing of an answer is taken, for too long."""
        left = self._bytes_left()
        if not left or left != self._left:
            self._left, self._taken = left, now
        elif now - self._taken > limits.taking:
            logger.warning("a client took nothing of an answer for %g s: dropped it", limits.taking)
            self.break_off()
        if self.conn.their_state is h11.SEND_BODY and now - self._asked > limits.request:
            self.time_out()

    def time_out(self) -> None:
        """Close, and say why if a part of a request is there that has no answer yet."""
        part_is_there = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        if part_is_there and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            logger.warning("a request did not come to its end in time: dropped it")
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def break_off(self) -> None:
        """Close at once, and never so that it could be taken for the end of an answer.

        To HTTP/1.0, the end of a connection is the end of a body without a length; a reset is none.
        """
        if self.scope and self.scope["http_version"] == "1.0" and not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; in the middle of an answer there is nothing that could be said."""
        answering = self.cycle and not self.cycle.response_complete
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.break_off()
        if answering:  # the application's answer goes nowhere
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    async def _answer(self, application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer."""
        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:  # which of them holds? (RFC 9112, section 6.1)
            await PlainTextResponse("A request has one length", 400, {"Connection": "close"})(scope, receive, send)
            return
        cycle = self.cycle
        try:
            await application(scope, receive, send)
        finally:
            if cycle.response_started and not cycle.response_complete and scope["http_version"] == "1.0":
                self.break_off()

    def _bytes_left(self) -> int:
        """Return how many bytes of answers are yet to be taken; 0 when all of them are in the system's hands."""
        left = self.transport.get_write_buffer_size()
        if left and fcntl:
            # The system takes megabytes at a time: what it still has tells that a slow client goes on taking.
            in_system = array("i", [0])
            with suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_system)
            left += in_system[0]
        return left

    def _tell(self, *, anew: bool = False) -> None:
        if self.conn.their_state is h11.IDLE:
            self._connections.waits(self, self.loop.time(), anew=anew)
        else:
            self._connections.works(self)
