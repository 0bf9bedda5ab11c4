"""How httpx reads from the network here: into a buffer of its own size, and so that another thread can break it off.

httpx asks the socket for 64 KiB at a time and gets a bytes object of that size, cut down to what had arrived; hundreds
of thousands of those leave the heap in pieces, tens of MB of it. Reading into one buffer a thread, and copying out
what arrived, keeps the memory flat, and larger reads are fewer.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
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

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.retry import Again
from mockexport.source import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Transport", "check_url", "httpx", "lost_connection", "tls_context"]

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


def check_url(url: str) -> None:
    """Raise UsageError for a server's URL that names none, or holds what it must not."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host
        parsed.raw_host.decode("ascii").encode("idna")  # as the look-up of its address will
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"source {url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https"):
        raise UsageError(f"source {url!r} is no http(s) URL; it looks like http://127.0.0.1:8000")
    if not host:
        raise UsageError(f"source {url!r} names no host; a URL looks like http://127.0.0.1:8000")
    if parsed.userinfo:
        raise UsageError("a source's URL must not hold a password: it would be seen by everyone on the machine")
    if parsed.query or parsed.fragment:
        raise UsageError(f"source {url!r} goes on behind its path; it ends where /api/export would begin")


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return whom to trust: the usual certificates, or those in a file. Raises UsageError when it can't be read."""
    if ca_bundle is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"--ca-bundle {ca_bundle} can't be read: {error.strerror or error}") from error


def lost_connection(error: Exception, url: str, timeout: float) -> Again | UnreachableError:
    """Return what a failure on the way means: mostly, that another try may mend it."""
    if isinstance(error, httpx.TimeoutException):
        return Again(UnreachableError(f"{url} did not answer within {timeout:g} s; is the server there?"))
    if isinstance(error, httpx.RemoteProtocolError):
        return Again(UntrustedDataError(f"{url} was cut short, or is not HTTP: {error}"))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnreachableError(f"{url} is not who it says, or needs --ca-bundle: {error}")
    return Again(UnreachableError(f"{url} can't be reached: {error or type(error).__name__}"))
