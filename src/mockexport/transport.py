"""How httpx reads from the network here: into a buffer of its own size, and so that another thread can break it off.

httpx asks the socket for 64 KiB at a time and gets a bytes object of that size, cut down to what had arrived; hundreds
of thousands of those leave the heap in pieces, tens of MB of it. Reading into one buffer a thread, and copying out
what arrived, keeps the memory flat, and larger reads are fewer.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if "httpx" not in sys.modules:
    # httpx brings a command line of its own wherever click is installed: 50 ms and 5 MB that nobody asked for here.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx

    del sys.modules["httpx._main"]
else:
    import httpx
import httpcore

from mockexport.source import keep_freed_memory

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ["Transport", "httpx"]

CONNECTIONS = 64
READ_BYTES = 1 << 17  # twice what httpx asks for; it takes what it gets


class Transport(httpx.HTTPTransport):
    """Connections that can be broken off from another thread."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        keep_freed_memory()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()
        # httpx has no parameter for the network backend; its pool has (httpcore's documentation, "Network Backends").
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            network_backend=_Backend(self),
        )

    def follow(self, stream: httpcore.NetworkStream) -> _Stream:
        """Remember a connection's socket for as long as it is there."""
        opened = stream.get_extra_info("socket")
        with self._lock:
            self._sockets.add(opened)
        return _Stream(stream, opened, self)

    def break_off(self) -> None:
        """End all connections; whoever reads from one gets an error at once."""
        with self._lock:
            for opened in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)  # below TLS, whose reader needs its state


class _Backend(httpcore.NetworkBackend):
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return self._transport.follow(self._plain.connect_tcp(host, port, timeout, local_address, socket_options))

    def sleep(self, seconds: float) -> None:
        self._plain.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    _buffers = threading.local()

    def __init__(self, plain: httpcore.NetworkStream, opened: socket.socket, transport: Transport) -> None:
        self._plain = plain
        self._socket = opened
        self._transport = transport

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's contract
        buffer: memoryview | None = getattr(self._buffers, "buffer", None)
        if buffer is None:
            buffer = self._buffers.buffer = memoryview(bytearray(READ_BYTES))
        try:
            self._socket.settimeout(timeout)
            return bytes(buffer[: self._socket.recv_into(buffer)])
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._plain.write(buffer, timeout)

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self._transport.follow(self._plain.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)
