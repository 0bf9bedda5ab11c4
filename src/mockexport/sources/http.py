"""HttpSource: a server that speaks docs/wire.md, as a Source.

It takes such servers as they are: chunked bodies without a length, no ETag, ranges ignored. What it hands on is what
was sent, whole, and of the version that was listed; a body that ends before its time, or whose end nothing proves, is
an error and never an end.
"""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import orjson

from mockexport._version import __version__
from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
    UsageError,
    no_such,
)
from mockexport.http import (
    TRANSIENT,
    HttpBody,
    Retries,
    RetryableError,
    Transport,
    check_url,
    content_coding,
    content_length,
    decoded,
    etag_of,
    httpx,
    lost_connection,
    parse_retry_after,
    schedule,
)
from mockexport.identity import is_strong
from mockexport.source import CancelToken
from mockexport.wire import API, MEDIA_TYPES, download_path, export_path, read_download, read_export, read_exports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from tenacity import Retrying

    from mockexport.model import Download
    from mockexport.source import Chunks, OnRetry

__all__ = ["HttpSource"]

T = TypeVar("T")

METADATA_AT_ONCE = 8
METADATA_AHEAD = 64  # so that one slow answer doesn't hold up the seven others
LOOK_SECONDS = 0.5
REDIRECTS = 20
SPLIT_BYTES = 1 << 30  # worth a request of its own, wherever the server is
JSON_LIMIT = 64 << 20  # bytes; the ids of a million downloads fit
URL_SHOWN = 200

OK, PARTIAL, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, UNSATISFIABLE, UNPROCESSABLE = (
    200, 206, 401, 403, 404, 410, 416, 422,
)  # fmt: skip
SERVER_ERROR = 500  # and above


class HttpSource:
    """The exports of a server; `url` is its root, the part before `/api/export`.

    `timeout`, in seconds, bounds each wait for the server, `retries` how often and for how long it is retried. `token`
    is sent as a bearer token, to this origin alone. `ca_bundle` is a file of certificates to trust, not the usual
    ones.
    `allow_unproven_end` takes a body that ends with its connection for whole where nothing else proves its end.
    Raises UsageError for a URL or a timeout that is not valid, and, once it is used, for certificates that cannot be
    read and a proxy of the environment that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
        token: str | None = None,
        ca_bundle: str | None = None,
        allow_unproven_end: bool = False,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries or Retries()
        self._token = token
        self._ca_bundle = ca_bundle
        self._allow_unproven_end = allow_unproven_end
        check_url(url)
        if not 0 < timeout <= threading.TIMEOUT_MAX:  # nan too
            raise UsageError(f"a timeout of {timeout:g} s is not valid")
        self._closed = threading.Event()  # ends the waits between tries; each `close` sets it and makes another
        self._answers_head = True
        self._client_made = threading.Lock()
        self._client: httpx.Client | None = None
        self._transport: Transport | None = None

    @property
    def name(self) -> str:
        """The URL, as the user wrote it."""
        return self._url

    def exports(self) -> list[str]:
        """Ask for the ids of the exports."""
        return self._ask(API, read_exports)

    def downloads(self, export: str) -> Iterator[Download]:
        """Ask for an export's downloads: for their ids now, for each one's metadata as it is taken."""
        if not export:  # its path would be that of the list of exports
            raise no_such("export", export, self.name, self.exports())
        try:
            ids = self._ask(export_path(export), read_export)
        except NotFoundError:
            raise no_such("export", export, self.name, self.exports()) from None
        return _Listing(self._metadata(export, ids), len(ids))

    def _metadata(self, export: str, ids: Sequence[str]) -> Generator[Download, None, None]:
        """Ask for the metadata of downloads, several at a time; what is asked for and not yet taken is bounded."""

        def ask(name: str) -> Download:
            path = download_path(export, name)
            download = self._ask(path, lambda answer: read_download(export, name, answer))
            return replace(download, **self._ask_body(f"{self._url}{path}/data", MEDIA_TYPES[download.format]))

        executor = ThreadPoolExecutor(max(1, min(METADATA_AT_ONCE, len(ids))))
        asked: deque[Future[Download]] = deque()
        try:
            for name in ids:
                if len(asked) == METADATA_AHEAD:
                    yield _result(asked.popleft())
                asked.append(executor.submit(ask, name))
            while asked:
                yield _result(asked.popleft())
        finally:  # after an error, or Ctrl-C, nobody waits for the others
            executor.shutdown(wait=False, cancel_futures=True)

    def open(
        self,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
    ) -> Chunks:
        """Stream a download's bytes from byte `offset` on, across as many connections as it takes.

        `download.etag` is what is known of the bytes before `offset`, and all bytes must be of the version that it
        names: ChangedError says that they are not. Bytes that arrive renew the retries: what is bounded are retries
        without progress, and the time that all of them take. `cancel` breaks off all running requests, as `close` does.
        """
        url = f"{self._url}{download_path(download.export, download.id)}/data"
        cancel = cancel or CancelToken()
        closed, retrying = self._closed, 0.0
        send = partial(self._request, url, cancel=cancel)
        body = HttpBody(send, download, offset, allow_unproven_end=self._allow_unproven_end)
        with cancel.on_cancel(self.close), contextlib.closing(body):
            while not body.ended:
                try:
                    chunk = body.read()
                except RetryableError as failure:
                    started = time.monotonic()
                    again = schedule(self._retries, closed, self._retries.budget - retrying, on_retry)
                    chunk = _read_again(again, body, failure)
                    retrying += time.monotonic() - started
                if chunk:
                    yield chunk

    def close(self) -> None:
        """Break off all running requests, and close all connections."""
        with self._client_made:
            self._closed.set()
            self._closed = threading.Event()
            client, self._client = self._client, None
            transport, self._transport = self._transport, None
        if transport:
            transport.break_off()
        if client:
            client.close()

    def _http(self) -> httpx.Client:
        with self._client_made:
            if self._client is None:
                headers = {"User-Agent": f"mockexport/{__version__}", "Accept-Encoding": "identity"}
                if self._token:
                    headers["Authorization"] = f"Bearer {self._token}"
                self._transport = Transport(self._ca_bundle)
                self._client = httpx.Client(
                    transport=self._transport, trust_env=False, timeout=self._timeout, headers=headers
                )
            return self._client

    def _ask(self, path: str, read: Callable[[object], T]) -> T:
        """Send a request for JSON until it is answered, and read the answer."""
        url = self._url + path
        try:
            body = schedule(self._retries, self._closed)(self._ask_once, url)
        except RetryableError as failure:
            raise failure.error from failure
        try:
            return read(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise UntrustedDataError(f"{url} did not send valid JSON: {error}; is it an export server?") from error
        except UntrustedDataError as error:
            raise UntrustedDataError(f"{url[:URL_SHOWN]}: {error}") from error

    def _ask_body(self, url: str, media_type: str) -> dict[str, Any]:
        """Ask what names a download's bytes; many servers don't say, and one that refuses is not asked again.

        Where any of these very bytes can be asked for, the download can be split.
        """
        if self._answers_head:
            try:
                with self._request(url, {"Accept": media_type}, method="HEAD") as response:
                    etag = etag_of(response)
                    packed = content_coding(response) != "identity"
                    size = None if packed else content_length(response) or None  # some say 0 whatever GET sends
                    can_be_split = (
                        is_strong(etag)
                        and size is not None
                        and response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
                    )
                    return {"etag": etag, "size": size, "split_size": SPLIT_BYTES if can_be_split else None}
            except (RetryableError, UnreachableError, NotFoundError):
                pass
            except UsageError:
                raise
            except MockExportError:
                self._answers_head = False
        return {}

    def _ask_once(self, url: str) -> bytes:
        body = bytearray()
        with self._request(url, {"Accept": "application/json"}) as response:
            coding = content_coding(response)
            for chunk in response.iter_raw() if coding == "identity" else decoded(response, coding):
                body += chunk
                if len(body) > JSON_LIMIT:
                    raise UntrustedDataError(f"{url} sent more than {JSON_LIMIT:,} bytes of JSON")
        return bytes(body)

    @contextlib.contextmanager
    def _request(
        self, url: str, headers: dict[str, str], *, method: str = "GET", cancel: CancelToken | None = None
    ) -> Generator[httpx.Response, None, None]:
        """Send a request and follow redirects; yield the answer, its body not yet read.

        Raises `RetryableError` for whatever another try may mend, our own errors for the rest.
        """
        with self._failures(url):
            client = self._http()
            if cancel and cancel.cancelled:  # looked at only now, so that `close` breaks this client off, or it is seen
                raise UnreachableError(f"{url} is not wanted any more")
            request = client.build_request(method, url, headers=headers)
            for _ in range(1 + REDIRECTS):
                with contextlib.closing(client.send(request, stream=True)) as response:
                    if response.next_request is None:
                        check_status(response, url)
                        yield response
                        return
                    request = response.next_request  # httpx leaves the token out when it goes to another origin
            raise UntrustedDataError(f"{url} redirects without end")

    @contextlib.contextmanager
    def _failures(self, url: str) -> Generator[None, None, None]:
        """Turn transport errors into our own."""
        try:
            yield
        except (RetryableError, MockExportError):
            raise
        except (httpx.InvalidURL, UnicodeError) as error:  # an id too long for a URL, a redirect to what is no host
            raise UntrustedDataError(f"{url[:URL_SHOWN]} cannot be requested: {error}") from error
        except zlib.error as error:
            raise UntrustedDataError(f"{url} cannot be decompressed: {error}") from error
        except httpx.UnsupportedProtocol as error:
            raise UntrustedDataError(f"{url} redirects to what is neither http nor https") from error
        except (httpx.TransportError, httpx.StreamError, RuntimeError) as error:
            raise lost_connection(error, url, self._timeout) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: another process makes connections of its own."""
        return _made_again, (
            self._url, self._timeout, self._retries, self._token, self._ca_bundle, self._allow_unproven_end,
        )  # fmt: skip


class _Listing:
    """Downloads whose metadata is asked for as they are taken; `operator.length_hint` tells how many they are."""

    def __init__(self, downloads: Generator[Download, None, None], total: int) -> None:
        self._downloads = downloads
        self._left = total

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Download:
        self._left -= 1
        return next(self._downloads)

    def __length_hint__(self) -> int:
        return max(0, self._left)

    def close(self) -> None:
        """Ask for no more."""
        self._downloads.close()


def _result(future: Future[T]) -> T:
    """Wait for a result in short waits: one that begins just after Ctrl-C was pressed is not interrupted by it."""
    while not wait((future,), LOOK_SECONDS).done:
        pass
    return future.result()


def _read_again(retrying: Retrying, body: HttpBody, failure: RetryableError) -> bytes:
    try:
        return retrying(_again_after(failure, body.read))
    except RetryableError as last:
        raise last.error from last


def _made_again(
    url: str, timeout: float, retries: Retries, token: str | None, ca_bundle: str | None, allow_unproven_end: bool
) -> HttpSource:
    return HttpSource(
        url, timeout=timeout, retries=retries, token=token, ca_bundle=ca_bundle, allow_unproven_end=allow_unproven_end
    )


def _again_after(failure: RetryableError, work: Callable[[], bytes]) -> Callable[[], bytes]:
    """Return work whose first try has failed already."""
    failures = [failure]

    def next_try() -> bytes:
        if failures:
            raise failures.pop()
        return work()

    return next_try


def check_status(response: httpx.Response, url: str) -> None:
    """Raise the error that a status means, `RetryableError` where another try may help; a range may have no bytes."""
    status = response.status_code
    if status == OK or (status in (PARTIAL, UNSATISFIABLE) and "Range" in response.request.headers):
        return
    told = f"{url} answered {status} {response.reason_phrase}".rstrip()
    if status in TRANSIENT:
        wait = parse_retry_after(response.headers.get("Retry-After"))
        raise RetryableError(UnreachableError(f"{told}; try again later"), wait, busy=True)
    if status in (UNAUTHORIZED, FORBIDDEN):
        raise NotAuthorisedError(told, remedy=Remedy.TOKEN)
    if status in (NOT_FOUND, GONE, UNPROCESSABLE):
        raise NotFoundError(told)
    if status >= SERVER_ERROR:
        raise UnreachableError(told)
    raise UntrustedDataError(f"{told}; is it an export server?")
