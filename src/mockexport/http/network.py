"""A network backend for httpcore (its documentation, "Network Backends").

Its connections differ from httpcore's own in four ways:

- All reads of a thread share one buffer. httpcore allocates 64 KiB for each read and shrinks it to what arrived, which
  fragments the heap by tens of MB. The buffer is also larger, so there are fewer reads.
- Another thread can abort them, even while they connect.
- The read timeout bounds the wait for progress, not for bytes: for the whole head of a response, and then for the next
  part of its body. A server that sends a header or chunk extensions byte by byte makes no progress.
- They pass httpcore the bytes of one response only (framing.py).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import httpcore

from mockexport.errors import UsageError
from mockexport.http.framing import Framing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Connection", "Network"]

READ_BYTES = 1 << 17  # twice what httpcore asks for; it takes what it gets
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Network(httpcore.NetworkBackend):
    """Opens connections, and can abort them all."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        self._broken_off = False

    def follow(self, opened: socket.socket) -> None:
        """Remember a socket for as long as it exists, to abort it. Raises ConnectError after `break_off`."""
        with self._lock:
            if self._broken_off:
                raise httpcore.ConnectError("the connection was aborted")
            self._sockets.add(opened)

    def break_off(self) -> None:
        """Abort all connections, present and future; threads that wait for one get an error at once."""
        with self._lock:
            self._broken_off = True
            for opened in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(
                        opened, socket.SHUT_RDWR
                    )  # of the socket below TLS, whose state a reader may be using

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - never set here
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that accepts, each tried for `timeout` seconds."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, OverflowError) as error:
            raise httpcore.ConnectError(str(error)) from error
        for family, kind, protocol, _name, address in addresses:
            opened = socket.socket(family, kind, protocol)
            try:
                self.follow(opened)
                opened.settimeout(timeout)
                opened.connect(address)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return Connection(opened, self)
            except (OSError, OverflowError) as error:  # OverflowError: the port is out of range
                opened.close()
                failed = httpcore.ConnectTimeout if isinstance(error, TimeoutError) else httpcore.ConnectError
                failure = failed(str(error))
            except BaseException:
                opened.close()
                raise
        raise failure

    def sleep(self, seconds: float) -> None:
        """Wait, in seconds."""
        time.sleep(seconds)


class Connection(httpcore.NetworkStream):
    """One connection, with or without TLS."""

    _buffers = threading.local()

    def __init__(self, opened: socket.socket, network: Network) -> None:
        self._socket = opened
        self._network = network
        self._framing = Framing()
        self._rest = b""  # received, and so far not known to belong to this response
        self._deadline: float | None = None  # for the next progress, on the monotonic clock

    def begin_body(self, method: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Note that the head of a response was read."""
        self._framing.begin_body(method, status, headers)
        self._deadline = None

    def progress(self) -> None:
        """Note that bytes of a body arrived: the read timeout starts again."""
        self._deadline = None

    def has_more(self) -> bool:
        """Return whether bytes follow the response that was read to its end."""
        if not self._rest:
            try:
                self._rest = self._receive(0)
            except (OSError, ValueError):  # nothing has arrived, or it is closed
                return False
        return bool(self._rest)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - part of httpcore's interface
        """Return the next bytes of the response as they arrive, none at its end or that of the connection."""
        left = timeout
        if timeout is not None:
            now = time.monotonic()
            if self._deadline is None:
                self._deadline = now + timeout
            else:
                left = self._deadline - now
                if left <= 0:
                    raise httpcore.ReadTimeout("no progress within the read timeout")
        try:
            data = self._rest or self._receive(left)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        taken = self._framing.take(data)
        self._rest = data[taken:]
        return data[:taken]

    def _receive(self, timeout: float | None) -> bytes:
        buffer: memoryview | None = getattr(self._buffers, "buffer", None)
        if buffer is None:
            buffer = self._buffers.buffer = memoryview(bytearray(READ_BYTES))
        if self._socket.gettimeout() != timeout:  # each change is a system call
            self._socket.settimeout(timeout)
        return bytes(buffer[: self._socket.recv_into(buffer)])

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send a request or a part of it."""
        self._framing = Framing()
        self._deadline = None
        left = memoryview(buffer)
        try:
            self._socket.settimeout(timeout)
            while left:
                left = left[self._socket.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return a TLS connection over this one, which can't be used after an error."""
        if isinstance(self._socket, ssl.SSLSocket):
            raise UsageError("an https:// proxy is not supported for an https:// server; name the proxy by http://")
        opened: socket.socket = self._socket
        try:
            # The handshake is separate, so that `follow` knows the socket before it blocks.
            opened = tls = ssl_context.wrap_socket(
                opened, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._network.follow(tls)
            tls.settimeout(timeout)
            tls.do_handshake()
        except BaseException as error:
            opened.close()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError | ValueError):  # ValueError: the host name is invalid
                raise httpcore.ConnectError(str(error)) from error
            raise
        return Connection(tls, self._network)

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks for. An idle connection that "is_readable" is not used again."""
        if info == "is_readable":
            return bool(self._rest) or self._is_readable()
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "socket":
            return self._socket
        if info == "client_addr":
            return self._socket.getsockname()
        if info == "server_addr":
            return self._socket.getpeername()
        return None

    def _is_readable(self) -> bool:
        if self._socket.fileno() < 0:  # closed
            return True
        with Selector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return bool(selector.select(0))
