"""A client of one server: requests with retries and redirects, and the bodies of downloads, whatever API it speaks."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from mockexport._version import __version__
from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
    UsageError,
)
from mockexport.http.body import HttpBody, content_coding, decoded
from mockexport.http.retry import TRANSIENT, Retries, RetryableError, parse_retry_after, schedule
from mockexport.http.transport import Transport, check_url, httpx, lost_connection
from mockexport.source import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from tenacity import Retrying

    from mockexport.model import Download
    from mockexport.source import Chunks, OnRetry

__all__ = ["Authorization", "Client", "ClientSettings", "check_status"]

T = TypeVar("T")

REDIRECTS = 20
URL_SHOWN = 200

OK, PARTIAL, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, UNSATISFIABLE, UNPROCESSABLE = (
    200, 206, 401, 403, 404, 410, 416, 422,
)  # fmt: skip
SERVER_ERROR = 500  # and above


class Authorization(Protocol):
    """Authorises requests by headers that change with time, such as tokens that end. Can be pickled."""

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers for a request to a URL; none where it must not have them."""

    def refused(self, headers: Mapping[str, str]) -> None:
        """Say that a request with these headers was answered 401: the next one gets others."""


class ClientSettings(NamedTuple):
    """How a client sends requests; a value that can be pickled.

    `timeout`, in seconds, bounds each wait for the server, `retries` how often and for how long it is retried. `token`
    is sent as a bearer token, to the origin of `url` alone; or `authorization` says what is sent. `ca_bundle` is a file
    of certificates to trust, not the usual ones. `allow_unproven_end` takes a body that ends with its connection for
    whole where nothing else proves its end.
    """

    url: str
    timeout: float = 30.0
    retries: Retries = Retries()
    token: str | None = None
    ca_bundle: str | None = None
    allow_unproven_end: bool = False
    authorization: Authorization | None = None


class Client:
    """Sends requests to the server of `settings.url`, and to others that it redirects to or names.

    Raises UsageError for a URL or a timeout that is not valid, and, once it is used, for certificates that cannot be
    read and a proxy of the environment that cannot be used.
    """

    def __init__(self, settings: ClientSettings) -> None:
        check_url(settings.url)
        if not 0 < settings.timeout <= threading.TIMEOUT_MAX:  # nan too
            raise UsageError(f"a timeout of {settings.timeout:g} s is not valid")
        self.settings = settings
        self.origin = _origin(settings.url)
        self.closed = threading.Event()  # ends the waits between tries; each `close` sets it and makes another
        self._client_made = threading.Lock()
        self._client: httpx.Client | None = None
        self._transport: Transport | None = None

    def retrying(self, work: Callable[[], T]) -> T:
        """Do work that raises RetryableError until it succeeds, or the retries are used up. Raises its errors."""
        try:
            return schedule(self.settings.retries, self.closed)(work)
        except RetryableError as failure:
            raise failure.error from failure

    def stream(
        self,
        url: str,
        download: Download,
        offset: int = 0,
        *,
        on_retry: OnRetry | None = None,
        cancel: CancelToken | None = None,
        authorize: bool = True,
        any_server: bool = False,
    ) -> Chunks:
        """Stream a download's bytes from byte `offset` on, across as many connections as it takes.

        `download.etag` is what is known of the bytes before `offset`, and all bytes must be of the version that it
        names: ChangedError says that they are not. Bytes that arrive renew the retries: what is bounded are retries
        without progress, and the time that all of them take. `cancel` breaks off all running requests, as `close` does.
        `any_server` is that of HttpBody.
        """
        cancel = cancel or CancelToken()
        closed, retrying, retries = self.closed, 0.0, self.settings.retries
        send = partial(self.request, url, cancel=cancel, authorize=authorize)
        unproven = self.settings.allow_unproven_end
        body = HttpBody(send, download, offset, allow_unproven_end=unproven, any_server=any_server)
        with cancel.on_cancel(self.close), contextlib.closing(body):
            while not body.ended:
                try:
                    chunk = body.read()
                except RetryableError as failure:
                    started = time.monotonic()
                    again = schedule(retries, closed, retries.budget - retrying, on_retry)
                    chunk = _read_again(again, body, failure)
                    retrying += time.monotonic() - started
                if chunk:
                    yield chunk

    def read(self, response: httpx.Response, limit: int) -> bytes:
        """Read the body of an answer, of up to `limit` bytes. Raises UntrustedDataError for a longer one."""
        body = bytearray()
        coding = content_coding(response)
        for chunk in response.iter_raw() if coding == "identity" else decoded(response, coding):
            body += chunk
            if len(body) > limit:
                raise UntrustedDataError(f"{response.url} sent more than {limit:,} bytes of JSON")
        return bytes(body)

    @contextlib.contextmanager
    def request(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        content: bytes | None = None,
        cancel: CancelToken | None = None,
        authorize: bool = True,
        follow: bool = True,
        check: Callable[[httpx.Response, str], None] | None = None,
    ) -> Generator[httpx.Response, None, None]:
        """Send a request and follow redirects, unless `follow` says no; yield the answer, its body not yet read.

        The token is sent to the server's own origin, unless `authorize` says no. `check` judges the status of the
        answer, by default `check_status`. Raises `RetryableError` for whatever another try may mend, our own errors for
        the rest.
        """
        with self._failures(url):
            client = self._http()
            if cancel and cancel.cancelled:  # looked at only now, so that `close` breaks this client off, or it is seen
                raise UnreachableError(f"{url} is not wanted any more")
            proof = self._authorization(url) if authorize else {}
            request = client.build_request(method, url, headers={**headers, **proof}, content=content)
            redirects = 0
            while redirects <= REDIRECTS:
                with contextlib.closing(client.send(request, stream=True)) as response:
                    if response.next_request is not None and follow:
                        request = response.next_request  # httpx leaves the token out when it goes to another origin
                        redirects += 1
                    elif response.status_code == UNAUTHORIZED and proof and self.settings.authorization:
                        self.settings.authorization.refused(proof)
                        proof = {}  # once
                        headers = {**headers, **self._authorization(url)}
                        request = client.build_request(method, url, headers=headers, content=content)
                    else:
                        (check or check_status)(response, url)
                        yield response
                        return
            raise UntrustedDataError(f"{url} redirects without end")

    def close(self) -> None:
        """Break off all running requests, and close all connections; the client may be used again."""
        with self._client_made:
            self.closed.set()
            self.closed = threading.Event()
            client, self._client = self._client, None
            transport, self._transport = self._transport, None
        if transport:
            transport.break_off()
        if client:
            client.close()

    def _authorization(self, url: str) -> dict[str, str]:
        """Return the headers that authorise a request to a URL; none for another origin."""
        if self.settings.authorization:
            return self.settings.authorization.headers(url)
        if self.settings.token and _origin(url) == self.origin:
            return {"Authorization": f"Bearer {self.settings.token}"}
        return {}

    def _http(self) -> httpx.Client:
        with self._client_made:
            if self._client is None:
                headers = {"User-Agent": f"mockexport/{__version__}", "Accept-Encoding": "identity"}
                self._transport = Transport(self.settings.ca_bundle)
                self._client = httpx.Client(
                    transport=self._transport, trust_env=False, timeout=self.settings.timeout, headers=headers
                )
            return self._client

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
            raise lost_connection(error, url, self.settings.timeout) from error


def _origin(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port


def _read_again(retrying: Retrying, body: HttpBody, failure: RetryableError) -> bytes:
    try:
        return retrying(_again_after(failure, body.read))
    except RetryableError as last:
        raise last.error from last


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
