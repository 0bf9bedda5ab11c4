"""The transport of our httpx clients: httpcore, on our network backend (network.py), through proxies."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from typing import TYPE_CHECKING

import httpcore
import httpx

from mockexport.errors import Remedy, UnreachableError, UntrustedDataError, UsageError, url_meant
from mockexport.http.network import Connection, Network
from mockexport.http.proxies import LAST_PORT, proxy_for
from mockexport.http.retry import RetryableError
from mockexport.source import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Transport", "check_url", "httpx", "lost_connection"]

KEPT_CONNECTIONS = 64


class Transport(httpx.BaseTransport):
    """Sends requests, each through the proxy that the environment names for its URL, if any.

    `ca_bundle` is a file of certificates to trust in place of the usual ones. Raises httpx's errors; and UsageError for
    certificates that cannot be read, and an invalid or unsupported proxy.
    """

    def __init__(self, ca_bundle: str | None = None) -> None:
        keep_freed_memory()
        self._tls = tls_context(ca_bundle) if ca_bundle else None
        self._network = Network()
        self._pools: dict[tuple[str, bool], httpcore.ConnectionPool] = {}  # by the proxy's URL, and for TLS or not
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return the response, whose body is not read yet."""
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("the body of a request must be a synchronous stream")
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
        if isinstance(connection, Connection):  # not so after a switch of protocols
            connection.begin_body(sent.method, answer.status, answer.headers)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, connection), extensions=answer.extensions
        )

    def break_off(self) -> None:
        """Abort all connections, present and future; threads that wait for one get an error at once."""
        self._network.break_off()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            pools = [*self._pools.values()]
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        proxy = proxy_for(url)
        key = (str(proxy.url) if proxy else "", url.scheme == "https")
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pool(proxy, secure=url.scheme == "https")
            return self._pools[key]

    def _new_pool(self, proxy: httpx.Proxy | None, *, secure: bool) -> httpcore.ConnectionPool:
        to_proxy = proxy is not None and proxy.url.scheme == "https"
        if self._tls is None and (secure or to_proxy):  # to read all certificates takes a while
            self._tls = tls_context(None)
        if proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=self._tls,
                max_connections=None,  # there are only as many as threads
                max_keepalive_connections=KEPT_CONNECTIONS,
                network_backend=self._network,
            )
        return httpcore.HTTPProxy(
            httpcore.URL(
                scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
            ),
            proxy_auth=proxy.raw_auth,
            ssl_context=self._tls,
            proxy_ssl_context=self._tls if to_proxy else None,
            max_connections=None,
            max_keepalive_connections=KEPT_CONNECTIONS,
            network_backend=self._network,
        )


class _Body(httpx.SyncByteStream):
    """The body of a response as httpx reads it. Bytes after its end are an error."""

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
                raise httpcore.RemoteProtocolError("bytes follow its end")

    def close(self) -> None:
        """Close the connection, or keep it for the next request if all was read."""
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
    """Map httpcore's errors to httpx's of the same name."""
    try:
        yield
    except tuple(HTTPX_ERRORS) as error:
        raise HTTPX_ERRORS[type(error)](str(error)) from error


def check_url(url: str) -> None:
    """Raise UsageError for a string that is not the URL of a server."""
    if meant := url_meant(url):
        raise UsageError(f"source {url!r} is not a URL; did you mean {meant}?")
    try:
        parsed = httpx.URL(url)
        host = parsed.host
        parsed.raw_host.decode("ascii").encode("idna")  # as getaddrinfo does
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"source {url!r} is not a valid URL: {error}") from error
    if (parsed.port or 0) > LAST_PORT:
        raise UsageError(f"the port of source {url!r} is out of range: the highest is {LAST_PORT:,}")
    if parsed.scheme not in ("http", "https"):
        raise UsageError(f"source {url!r} is not an http:// or https:// URL, such as http://127.0.0.1:8000")
    if not host:
        raise UsageError(f"source {url!r} has no host; a URL looks like http://127.0.0.1:8000")
    if parsed.userinfo:
        raise UsageError("the URL of a source must not contain a password: everyone on the machine could see it")
    if parsed.query or parsed.fragment:
        raise UsageError(f"source {url!r} has a query or a fragment; leave out everything after the path")


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the usual certificates, or those in the file `ca_bundle`.

    The usual ones are certifi's, or those that SSL_CERT_FILE or SSL_CERT_DIR names. Raises UsageError if a file can't
    be read or has no valid certificate.
    """
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


def lost_connection(error: Exception, url: str, timeout: float) -> RetryableError | UnreachableError:
    """Return the error for a request that failed on the way; most of these are retried.

    `timeout` is the read timeout, in seconds.
    """
    if isinstance(error, httpx.TimeoutException):
        return RetryableError(UnreachableError(f"{url} did not answer within {timeout:g} s; is the server running?"))
    if isinstance(error, httpx.RemoteProtocolError):
        return RetryableError(UntrustedDataError(f"{url} was cut short, or is not HTTP: {error}"))
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UnreachableError(f"the certificate of {url} is not trusted: {error}", remedy=Remedy.CA_BUNDLE)
    return RetryableError(UnreachableError(f"{url} can't be reached: {error or type(error).__name__}"))
