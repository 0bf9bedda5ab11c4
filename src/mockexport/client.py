"""HttpSource: a server that speaks docs/wire.md, as a Source.

It takes such servers as they are: chunked bodies without a length, no ETag, ranges ignored. What it hands on is what
was sent, whole; a body that ends before its time is an error and never an end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import orjson

from mockexport._version import __version__
from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    UnreachableError,
    UntrustedDataError,
    UsageError,
    no_such,
)
from mockexport.wire import API, download_path, export_path, read_download, read_export, read_exports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mockexport.catalog import Download
    from mockexport.source import Chunks

__all__ = ["HttpSource"]

T = TypeVar("T")

CONNECTIONS = 64
METADATA_AT_ONCE = 8
JSON_LIMIT = 64 << 20  # bytes; the ids of a million downloads fit


class HttpSource:
    """The exports of a server; `url` is its root, the part before `/api/export`. `timeout` is in seconds.

    Raises UsageError for a URL that is none.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        try:
            parsed = httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise UsageError(f"source {url!r} is no URL: {error}") from error
        if not parsed.host:
            raise UsageError(f"source {url!r} names no host; it looks like http://127.0.0.1:8000")
        if parsed.userinfo:
            raise UsageError("a source's URL must not hold a password: it would be seen by everyone on the machine")
        self._live = _LiveStreams()
        self._client_made = threading.Lock()
        self._client: httpx.Client | None = None

    @property
    def name(self) -> str:
        """The URL, as the user wrote it."""
        return self._url

    def exports(self) -> list[str]:
        """Ask for the ids of the exports."""
        return self._ask(API, read_exports)

    def downloads(self, export: str) -> list[Download]:
        """Ask for an export's downloads, several at a time."""
        try:
            ids = self._ask(export_path(export), read_export)
        except NotFoundError:
            raise no_such("export", export, self.name, self.exports()) from None

        def ask(download: str) -> Download:
            return self._ask(download_path(export, download), lambda answer: read_download(export, download, answer))

        with ThreadPoolExecutor(max(1, min(METADATA_AT_ONCE, len(ids)))) as executor:
            return list(executor.map(ask, ids))

    def open(self, download: Download, offset: int = 0) -> Chunks:
        """Stream a download's bytes from byte `offset` on; those before it are passed over if the server sends them."""
        url = f"{self._url}{download_path(download.export, download.id)}/data"
        headers = {"Accept": "text/csv", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with self._failures(url), self._http().stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                return
            self._check_status(response, url)
            skip = offset
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                wanted = f"bytes {offset}-"
                if not response.headers.get("Content-Range", "").startswith(wanted):
                    raise UntrustedDataError(f"{url} sent another range than the one asked for")
                skip = 0
            with self._live.following(response):
                for chunk in response.iter_bytes():
                    if skip < len(chunk):
                        yield chunk[skip:] if skip else chunk
                    skip = max(0, skip - len(chunk))

    def close(self) -> None:
        """Break off all running streams, and let go of all connections."""
        self._live.break_off()
        with self._client_made:
            client, self._client = self._client, None
        if client:
            client.close()

    def _http(self) -> httpx.Client:
        with self._client_made:
            if self._client is None:
                self._client = httpx.Client(
                    timeout=self._timeout,
                    limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
                    headers={"User-Agent": f"mockexport/{__version__}"},
                    follow_redirects=True,
                )
            return self._client

    def _ask(self, path: str, read: Callable[[object], T]) -> T:
        """Send a request for JSON, and read the answer."""
        url = self._url + path
        body = bytearray()
        with (
            self._failures(url),
            self._http().stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            self._check_status(response, url)
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > JSON_LIMIT:
                    raise UntrustedDataError(f"{url} sent more than {JSON_LIMIT:,} bytes of JSON")
        try:
            return read(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise UntrustedDataError(f"{url} sent no JSON: {error}; is it an export server?") from error
        except UntrustedDataError as error:
            raise UntrustedDataError(f"{url}: {error}") from error

    @staticmethod
    def _check_status(response: httpx.Response, url: str) -> None:
        status = response.status_code
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return
        told = f"{url} answered {status} {response.reason_phrase}".rstrip()
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NotAuthorisedError(told)
        if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE, httpx.codes.UNPROCESSABLE_ENTITY):
            raise NotFoundError(told)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in (408, 425, 429):
            raise UnreachableError(f"{told}; try again later")
        raise UntrustedDataError(f"{told}; is it an export server?")

    @contextlib.contextmanager
    def _failures(self, url: str) -> Generator[None, None, None]:
        """Turn what can go wrong on the way into our own errors."""
        try:
            yield
        except MockExportError:
            raise
        except httpx.TimeoutException as error:
            raise UnreachableError(f"{url} did not answer within {self._timeout:g} s; is the server there?") from error
        except httpx.RemoteProtocolError as error:
            raise UntrustedDataError(f"{url} was cut short: {error}") from error
        except httpx.DecodingError as error:
            raise UntrustedDataError(f"{url} can't be unpacked: {error}") from error
        except httpx.UnsupportedProtocol as error:
            raise UntrustedDataError(f"{url} redirects to what is neither http nor https") from error
        except httpx.TooManyRedirects as error:
            raise UntrustedDataError(f"{url} redirects without end") from error
        except (httpx.TransportError, httpx.StreamError, RuntimeError) as error:
            raise UnreachableError(f"{url} can't be reached: {error or type(error).__name__}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as the URL alone."""
        return _again, (self._url, self._timeout)


def _again(url: str, timeout: float) -> HttpSource:
    return HttpSource(url, timeout=timeout)


class _LiveStreams:
    """The sockets that are being read, so that another thread can wake their readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @contextlib.contextmanager
    def following(self, response: httpx.Response) -> Generator[None, None, None]:
        stream = response.extensions.get("network_stream")
        live = stream.get_extra_info("socket") if stream else None
        if not isinstance(live, socket.socket):
            yield
            return
        with self._lock:
            self._sockets.add(live)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(live)

    def break_off(self) -> None:
        with self._lock:
            for live in self._sockets:
                with contextlib.suppress(OSError):
                    live.shutdown(socket.SHUT_RDWR)
