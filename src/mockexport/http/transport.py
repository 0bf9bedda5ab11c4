"""How httpx reaches servers here: by httpcore, over connections of our own (network.py), through any proxy."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from typing import TYPE_CHECKING

import httpcore
import httpx

from mockexport.errors import Remedy, UnreachableError, UntrustedDataError, UsageError
from mockexport.http.network import Connection, Network
from mockexport.http.proxies import LAST_PORT, proxy_for
from mockexport.http.retry import Again
from mockexport.source import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Transport", "check_url", "httpx", "lost_connection", "tls_context"]

KEPT_CONNECTIONS = 64


class Transport(httpx.BaseTransport):
    """Sends requests, each through the proxy that the environment names for it, if any.

    Raises httpx's errors, and UsageError for a proxy that can't be used.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        keep_freed_memory()
        self._tls = tls
        self._network = Network()
        self._pools: dict[str, httpcore.ConnectionPool] = {}  # by the proxy's URL
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the answer, its body not yet read."""
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("the body of a request must be one for synchronous use")
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        sent = httpcore.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        pool = self._pool(request.url)
        with httpx_errors():
            answer = pool.handle_request(sent)
        connection = answer.extensions.get("network_stream")
        if isinstance(connection, Connection):  # it is none where the protocol was switched
            connection.begin_body(sent.method, answer.status, answer.headers)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, connection), extensions=answer.extensions
        )

    def break_off(self) -> None:
        """End all connections, for good; whoever waits for one gets an error at once."""
        self._network.break_off()

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            pools = [*self._pools.values()]
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        proxy = proxy_for(url)
        with self._lock:
            name = str(proxy.url) if proxy else ""
            if name not in self._pools:
                self._pools[name] = self._new_pool(proxy)
            return self._pools[name]

    def _new_pool(self, proxy: httpx.Proxy | None) -> httpcore.ConnectionPool:
        if proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=self._tls,
                max_connections=None,  # there are no more than threads that ask
                max_keepalive_connections=KEPT_CONNECTIONS,
                network_backend=self._network,
            )
        return httpcore.HTTPProxy(
            httpcore.URL(
                scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
            ),
            proxy_auth=proxy.raw_auth,
            ssl_context=self._tls,
            proxy_ssl_context=self._tls if proxy.url.scheme == "https" else None,
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS,
            network_backend=self._network,
        )


class _Body(httpx.SyncByteStream):
    """The body of an answer as httpx reads it; one with bytes behind its end is an error."""

    def __init__(self, answer: httpcore.Response, connection: Connection | None) -> None:
        self._answer = answer
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        with httpx_errors():
            for part in self._answer.iter_stream():
                if self._connection:
                    self._connection.progress()
                yield part
            if self._connection and self._connection.has_more():
                raise httpcore.RemoteProtocolError("there are bytes behind its end")

    def close(self) -> None:
        """Let go of the connection, or keep it for the next request when all was read."""
        with httpx_errors():
            self._answer.close()


HTTPX_ERRORS: dict[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}


@contextlib.contextmanager
def httpx_errors() -> Generator[None, None, None]:
    """Turn httpcore's errors into httpx's of the same name."""
    try:
        yield
    except tuple(HTTPX_ERRORS) as error:
        raise HTTPX_ERRORS[type(error)](str(error)) from error


def check_url(url: str) -> None:
    """Raise UsageError for a server's URL that names none, or holds what it must not."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host
        parsed.raw_host.decode("ascii").encode("idna")  # as the look-up of its address will
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"source {url!r} is no URL: {error}") from error
    if (parsed.port or 0) > LAST_PORT:
        raise UsageError(f"source {url!r} names no port: there is none above {LAST_PORT:,}")
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
    named = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
    try:
        if ca_bundle is None:
            return httpx.create_ssl_context()
        named = "the CA bundle"
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:  # ssl.SSLError is one
        if error.filename and error.filename == os.environ.get("SSLKEYLOGFILE"):
            raise UsageError(f"SSLKEYLOGFILE {error.filename} can't be written: {error.strerror}") from error
        file = ca_bundle or os.environ.get(named, "")
        raise UsageError(f"{named} {file} can't be read: {error.strerror or error}") from error


def lost_connection(error: Exception, url: str, timeout: float) -> Again | UnreachableError:
    """Return what a failure on the way means: mostly, that another try may mend it."""
    if isinstance(error, httpx.TimeoutException):
        return Again(UnreachableError(f"{url} did not answer within {timeout:g} s; is the server there?"))
    if isinstance(error, httpx.RemoteProtocolError):
        return Again(UntrustedDataError(f"{url} was cut short, or is not HTTP: {error}"))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnreachableError(f"the certificate of {url} is not trusted: {error}", remedy=Remedy.CA_BUNDLE)
    return Again(UnreachableError(f"{url} can't be reached: {error or type(error).__name__}"))
