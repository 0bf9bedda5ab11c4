"""A client of the heart-rate service, with retries."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from mockexport._version import __version__
from mockexport.errors import (
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
    UsageError,
)
from mockexport.http import (
    TRANSIENT,
    Retries,
    RetryableError,
    Transport,
    check_url,
    httpx,
    lost_connection,
    parse_retry_after,
    schedule,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["PATH", "Answer", "HeartRateClient", "wait_until_one_answers"]

PATH = "/metrics/heart-rate"  # without a version: older servers and other services have this one alone
OK, ACCEPTED, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_LARGE = 200, 202, 400, 401, 403, 404, 413
SHOWN = 200  # characters of a response
HEALTH_PAUSE = 0.1  # seconds
SILENT_SECONDS = 1.0  # of a wait that nobody is told of


@dataclass(frozen=True, slots=True)
class Answer:
    """The final response of the server with this URL, and how many retries it took, at any server."""

    url: str
    status: int
    document: Any
    tried_again: int = 0


class HeartRateClient:
    """The heart-rate service of a server; `url` is its root. Thread-safe.

    `timeout`, in seconds, bounds each wait for the server, `retries` the retries of each request. `token` is sent as a
    bearer token. `ca_bundle` is a file of trusted certificates, in place of the usual ones. Raises UsageError for an
    invalid URL, and for a bundle that can't be read.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
        token: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries or Retries()
        self._closed = threading.Event()
        headers = {"User-Agent": f"mockexport/{__version__}", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        check_url(url)
        self._transport = Transport(ca_bundle)
        self._client = httpx.Client(transport=self._transport, trust_env=False, timeout=timeout, headers=headers)

    def wait_until_ready(self, on_waiting: Callable[[], None] | None = None) -> None:
        """Wait until the server answers at /health, for at most the client's timeout.

        Any answer but a temporary refusal will do: not every heart-rate service has this route. `on_waiting` is called
        once if it takes more than a second. Raises UnreachableError, and what `post` raises.
        """
        wait_until_one_answers([self.ask_health], self._timeout, self._timeout, self._closed, on_waiting)

    def ask_health(self, seconds: float) -> None:
        """Ask /health once, and wait for `seconds`. Raises RetryableError, and what `post` raises."""
        self._ask_once("GET", f"{self.url}/health", {"timeout": seconds})

    def post(self, path: str, body: bytes) -> Answer:
        """Post readings until they are acknowledged (202) or refused as invalid (400).

        A reading that is sent again counts once, so a post is idempotent: it is retried after any lost connection.
        Raises UnreachableError after all retries, NotAuthorisedError, and UntrustedDataError for any other response.
        """
        return self._retried(partial(self.post_once, path, body))

    def post_once(self, path: str, body: bytes) -> Answer:
        """Post readings without a retry. Raises RetryableError if one may help, and what `post` raises."""
        answer = self._answer_once("POST", path, content=body)
        if answer.status == TOO_LARGE:
            raise UntrustedDataError(f"{self.url}{path} answered {TOO_LARGE}: {_detail(answer.document)}")
        if answer.status not in (ACCEPTED, BAD_REQUEST):
            raise UntrustedDataError(f"{self.url}{path} answered {answer.status}; is it a heart-rate server?")
        return answer

    def query(self, user: str, start: str, end: str, device: str | None = None) -> dict[str, Any]:
        """Query a user's heart rate by minutes. Raises NotFoundError if there is none, and what `post` raises."""
        parameters = {"user_id": user, "start": start, "end": end} | ({} if device is None else {"device_id": device})
        answer = self._retried(partial(self._answer_once, "GET", PATH, params=parameters))
        if answer.status == BAD_REQUEST:
            raise UsageError(f"the server refused the query: {_detail(answer.document)}")
        if answer.status == NOT_FOUND:
            what = f"of user {user!r}" + (f" and device {device!r}" if device is not None else "")
            raise NotFoundError(f"no heart rate {what} from {start} to {end} at {self.url}: {_detail(answer.document)}")
        if answer.status != OK or not _is_minutes(answer.document):
            raise UntrustedDataError(f"{self.url} sent an invalid response; is it a heart-rate server?")
        document: dict[str, Any] = answer.document
        return document

    def break_off(self) -> None:
        """Abort all requests and waits of other threads; the client can't be used afterwards."""
        self._closed.set()
        self._transport.break_off()

    def close(self) -> None:
        """Close all connections, once no other thread uses them."""
        self.break_off()
        self._client.close()

    def _retried(self, ask: Callable[[], Answer]) -> Answer:
        retrying = schedule(self._retries, self._closed)
        try:
            answer: Answer = retrying(ask)
        except RetryableError as failure:
            raise failure.error from failure
        return replace(answer, tried_again=retrying.statistics.get("attempt_number", 1) - 1)

    def _answer_once(self, method: str, path: str, **request: Any) -> Answer:
        response = self._ask_once(method, self.url + path, request)
        try:
            return Answer(self.url, response.status_code, orjson.loads(response.content))
        except orjson.JSONDecodeError as error:
            raise UntrustedDataError(f"{self.url}{path} did not send valid JSON; is it a heart-rate server?") from error

    def _ask_once(self, method: str, url: str, request: Mapping[str, Any]) -> httpx.Response:
        try:
            response = self._client.request(method, url, **request)
        except (httpx.TransportError, RuntimeError) as error:
            raise lost_connection(error, url, self._timeout) from error
        status = response.status_code
        if status in TRANSIENT:
            unavailable = UnreachableError(f"{url} answered {status} {response.reason_phrase}; try again later")
            raise RetryableError(unavailable, parse_retry_after(response.headers.get("Retry-After")))
        if status in (UNAUTHORIZED, FORBIDDEN):
            raise NotAuthorisedError(f"{url} answered {status}", remedy=Remedy.TOKEN)
        return response


def wait_until_one_answers(
    asks: Sequence[Callable[[float], None]],
    longest: float,
    timeout: float,
    closed: threading.Event,
    on_waiting: Callable[[], None] | None,
) -> None:
    """Ask servers in turn, each for at most `longest` seconds, until one answers or `timeout` is over.

    `on_waiting` is called once if it takes more than a second. Raises UnreachableError, and what `asks` raise.
    """
    began = time.monotonic()
    while True:
        for ask in asks:
            remaining = began + timeout - time.monotonic()
            try:
                ask(max(HEALTH_PAUSE, min(longest, remaining)))
            except RetryableError as failure:
                if remaining <= 0 or not isinstance(failure.error, UnreachableError):
                    raise failure.error from failure
            else:
                return
        if on_waiting and time.monotonic() - began >= SILENT_SECONDS:
            on_waiting()
            on_waiting = None
        closed.wait(HEALTH_PAUSE)


def _detail(document: Any) -> str:
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail)[:SHOWN]


def _is_minutes(document: Any) -> bool:
    data = document.get("data") if isinstance(document, dict) else None
    return isinstance(data, list) and all(
        isinstance(point, dict)
        and isinstance(point.get("timestamp"), str)
        and isinstance(point.get("heart_rate"), int | float)
        and isinstance(point.get("device_id"), str)
        for point in data
    )
