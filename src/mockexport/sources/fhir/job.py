"""One export of a FHIR server, from its kick-off to its deletion (FHIR Bulk Data Access, "Bulk Data Export Operation").

Waits are those that the server asks for. Where it asks for nothing, they grow from 5 seconds to a minute: servers block
those who ask too often.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from functools import partial
from itertools import count
from math import nan
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

import orjson

from mockexport.bulk_manifest import BulkManifest, parse_bulk_manifest
from mockexport.bulk_wire import FHIR_JSON, JSON
from mockexport.encoding import json_bytes
from mockexport.errors import (
    MockExportError,
    NotAuthorisedError,
    NotFoundError,
    Remedy,
    UnreachableError,
    UntrustedDataError,
    UsageError,
)
from mockexport.http import TRANSIENT, RetryableError, httpx, parse_retry_after
from mockexport.sources.fhir.outcome import outcome_text
from mockexport.sources.fhir.state import ExportState

if TYPE_CHECKING:
    from collections.abc import Callable

    from mockexport.http import Client
    from mockexport.sources.fhir.state import StateFile

__all__ = ["ExportJob", "absolute_url", "next_link", "wait_seconds"]

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT, GROWTH = 5.0, 60.0, 1.5  # seconds between looks, where the server asks for nothing
CLAMPED_WAIT = 86_400.0  # a Retry-After of more is taken for a mistake
EPOCH_FROM, MILLISECONDS_FROM = 1e9, 1e12  # such a number of seconds is a time: 2001 and later
MANIFEST_LIMIT = 256 << 20  # bytes, of all parts
PAGES = 100_000
ACCEPTED, OK = 202, 200
NO_CONTENT, NOT_ALLOWED, TOO_MANY, UNAVAILABLE = 204, 405, 429, 503
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, SERVER_ERROR = 401, 403, 404, 410, 500
PROGRESS_SHOWN = 100
LISTS = ("output", "deleted", "error", "outcome")  # of a manifest
BUSY = "the server is busy"


class ExportJob:
    """An export, begun or resumed from its state.

    `timeout` bounds all waits for the server to make it, in seconds; `on_status` is told what is waited for.
    """

    def __init__(
        self,
        client: Client,
        kick_off: str,
        parameters: dict[str, str],
        states: StateFile,
        timeout: float,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        self._client = client
        self._url = f"{kick_off}?{urlencode(parameters)}" if parameters else kick_off
        self._bare_url = kick_off
        self._parameters = parameters
        self._states = states
        self._timeout = timeout
        self._on_status = on_status
        self._by_post = False  # where the server does not take GET
        self.state = ExportState(self._url)

    def resume(self, *, restart: bool = False, begins: bool = True) -> bool:
        """Take the state that is kept, if any; return whether there is an export to go on with.

        Raises UsageError for the state of another export, and UnreachableError where one may be running that cannot be
        found, unless `restart` says that another one may be begun: the one before is deleted, if it is known where. The
        parameters matter to who `begins` exports; all others take the export as it was begun.
        """
        state = self._states.load()
        if state is None:
            return False
        known = state.kick_off if begins else state.kick_off.partition("?")[0]
        if known != (self._url if begins else self._bare_url):
            raise UsageError(f"the state {self._states.path} belongs to {state.kick_off}; choose another file")
        if restart:
            self.state = state
            self.delete()
            self.state = ExportState(self._url)
            return False
        if state.ended:
            raise NotFoundError(
                f"the export of {self._states.path} has ended, and the server was told to delete it",
                remedy=Remedy.RESTART,
            )
        if state.sent and state.status_url is None:
            raise UnreachableError(
                f"an export may be running at {self._url}: a kick-off was sent, and its answer did not arrive",
                remedy=Remedy.RESTART,
            )
        self.state = state
        return state.status_url is not None

    def begin(self, *, restart: bool = False) -> None:
        """Go on with the export that is kept, or else begin one. Raises what `resume` raises.

        Between the look at the state and the kick-off, no other run may begin one: it would not be found again.
        """
        with self._states.held():
            if not self.resume(restart=restart):
                self._start()

    def _start(self) -> None:
        """Send the kick-off, and keep where the status is. A server that is busy is waited for."""
        self.state = ExportState(self._url)
        deadline = time.monotonic() + self._timeout
        for attempt in count():
            wait = self._client.retrying(self._kick_off)
            if self.state.status_url:
                return
            self._wait(wait, attempt, deadline, BUSY)

    def manifest(self) -> BulkManifest:
        """Wait until the export is complete, and return its manifest, all parts of it."""
        return self._parsed(self.state.manifest) if self.state.manifest else self.renew_manifest()

    def renew_manifest(self, check: Callable[[BulkManifest], None] | None = None) -> BulkManifest:
        """Ask for the manifest, also again: its URLs may have been renewed.

        One that is not valid, or for which `check` raises an error, is not kept.
        """
        text = self._all_parts()
        manifest = self._parsed(text)
        if check:
            check(manifest)
        self.state = self._states.keep(self.state, manifest=text)
        return manifest

    def _parsed(self, text: str) -> BulkManifest:
        try:
            return parse_bulk_manifest(orjson.loads(text))
        except (UntrustedDataError, orjson.JSONDecodeError) as error:
            raise UntrustedDataError(f"the manifest at {self.state.status_url} is not valid: {error}") from error

    def delete(self) -> None:
        """Tell the server that the export is not needed any more; that it refuses is only told."""
        if self.state.status_url and not self.state.ended and self._ask_to_delete(self.state.status_url):
            self.state = self._states.keep(self.state, ended=True)

    def _ask_to_delete(self, url: str) -> bool:
        try:
            with self._client.request(url, {"Accept": JSON}, method="DELETE", check=_any_status) as response:
                status = response.status_code
        except (RetryableError, MockExportError) as error:
            log.warning("the export is still on the server, as it could not be told to delete it: %s", error)
            return False
        if status not in (OK, ACCEPTED, NO_CONTENT, NOT_FOUND, GONE):
            log.warning("the export is still on the server: %s answered %d to DELETE", url, status)
            return False
        return True

    def _kick_off(self) -> float | None:
        """Send the kick-off once; return how long to wait where the server begins nothing for now.

        A request that nobody can have received may be sent again. Of any other that is not answered, nobody knows.
        """
        self.state = self._states.keep(self.state, sent=True)
        headers, content = {"Accept": FHIR_JSON, "Prefer": "respond-async"}, None
        if self._by_post:
            headers["Content-Type"] = FHIR_JSON
            content = orjson.dumps({"resourceType": "Parameters", "parameter": _parameters(self._parameters)})
        url, method = (self._bare_url, "POST") if self._by_post else (self._url, "GET")
        try:
            with self._client.request(url, headers, method=method, content=content, check=_any_status) as response:
                return self._answered(response)
        except (RetryableError, MockExportError) as failure:
            if isinstance(failure.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
                self.state = self._states.keep(self.state, sent=False)
                raise
            if isinstance(failure, MockExportError):
                raise
            raise UnreachableError(
                f"an export may be running at {self._url}: a kick-off was sent, and its answer did not arrive: "
                f"{failure.error.message}"
            ) from failure

    def _answered(self, response: httpx.Response) -> float | None:
        """Keep where the status is, or return how long to wait before another try; raise what else was answered."""
        status = response.status_code
        if status == ACCEPTED:
            location = response.headers.get("Content-Location", "").strip()
            if not location:
                raise UntrustedDataError(f"{response.url} accepted the export, but sent no Content-Location")
            url = absolute_url(location, str(response.url))
            try:
                self.state = self._states.keep(self.state, status_url=url, began=time.time())
            except MockExportError:  # nobody would find it again
                if self._ask_to_delete(url):
                    self.state = self._states.keep(self.state, sent=False)
                raise
            return None
        if status < SERVER_ERROR or status == UNAVAILABLE:  # refused, so nothing runs
            self.state = self._states.keep(self.state, sent=False)
        if status in (TOO_MANY, UNAVAILABLE):
            return wait_seconds(response.headers.get("Retry-After"), str(response.url))
        if status == NOT_ALLOWED and not self._by_post:
            response.close()
            self._by_post = True
            return self._kick_off()
        raise _refusal(response, self._client.read(response, MANIFEST_LIMIT))

    def _all_parts(self) -> str:
        """Wait for the manifest, follow its links to its next parts, and return all of it as one."""
        if self.state.status_url is None:
            raise ValueError("the export was not started")
        began = self.state.began or time.time()
        deadline = time.monotonic() + max(0.0, self._timeout - max(0.0, time.time() - began))
        url: str | None = self.state.status_url
        seen: set[str] = set()
        whole: dict[str, Any] = {}
        text = b""
        while url:
            if url in seen or len(seen) == PAGES:
                raise UntrustedDataError(f"the manifest of {self._url} has links without end")
            seen.add(url)
            text = self._wait_for(url, deadline)
            part = _document(text, url)
            listed = {key: part[key] for key in LISTS if isinstance(part.get(key), list)}
            whole = {**part, **whole, **{key: [*whole.get(key, []), *files] for key, files in listed.items()}}
            following = next_link(part)
            url = following and absolute_url(following, url)
        whole.pop("link", None)
        return (text if len(seen) == 1 else json_bytes(whole)).decode()

    def _wait_for(self, url: str, deadline: float) -> bytes:
        """Ask for a part of the manifest until it is there."""
        for attempt in count():
            body, wait, told = self._client.retrying(partial(self._look, url))
            if body is not None:
                return body
            self._wait(wait, attempt, deadline, told)
        raise AssertionError  # there is no end to count()

    def _look(self, url: str) -> tuple[bytes | None, float | None, str]:
        """Ask for the status: the manifest; or None, the wait that is asked for, and how far the export is."""
        with self._client.request(url, {"Accept": JSON}, check=_any_status) as response:
            body = self._client.read(response, MANIFEST_LIMIT)
            status, headers = response.status_code, response.headers
            if status == OK:
                return body, None, ""
            if status == ACCEPTED:
                told = "".join(c for c in headers.get("X-Progress", "") if c.isprintable())[:PROGRESS_SHOWN]
                return None, wait_seconds(headers.get("Retry-After"), url), told
            if status in (TOO_MANY, UNAVAILABLE) or (status >= SERVER_ERROR and _is_transient(body)):
                return None, wait_seconds(headers.get("Retry-After"), url), BUSY
            error = _refusal(response, body)
            if status in (NOT_FOUND, GONE) and url == self.state.status_url:
                told = f"the export is not on the server any more: {error.message}"
                raise NotFoundError(told, remedy=Remedy.RESTART if self._states.path else None)
            if status in TRANSIENT or status >= SERVER_ERROR:  # of a gateway, say, or for good; that shows if it stays
                asked = wait_seconds(headers.get("Retry-After"), url)
                raise RetryableError(error, FIRST_WAIT if asked is None else asked, busy=True)
            raise error

    def _wait(self, asked: float | None, attempt: int, deadline: float, told: str) -> None:
        """Wait as long as the server asks, or longer each time. Raises UnreachableError past the deadline."""
        seconds = asked if asked is not None else min(LONGEST_WAIT, FIRST_WAIT * GROWTH**attempt)
        if time.monotonic() + seconds > deadline:
            raise UnreachableError(
                f"the export at {self._url} was not ready within {self._timeout:,.0f} s; the next look would be in "
                f"{seconds:,.0f} s",
                remedy=Remedy.EXPORT_TIMEOUT,
            )
        log.info("waiting %.0f s for the export%s", seconds, f": {told}" if told else "")
        if self._on_status:
            self._on_status(told or "the export is being made")
        if self._client.closed.wait(seconds):
            raise UnreachableError(f"{self._url} is not wanted any more")


def next_link(document: dict[str, Any]) -> str | None:
    """Return the URL of the next part of a manifest, if there is one. Raises UntrustedDataError."""
    links = document.get("link") or []
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise UntrustedDataError('"link" is not a list of objects')
    urls = [link.get("url") for link in links if link.get("relation") == "next"]
    if any(not url or not isinstance(url, str) for url in urls) or len(urls) > 1:
        raise UntrustedDataError('"link" does not name one next part')
    return urls[0] if urls else None


def absolute_url(url: str, base: str) -> str:
    """Return a URL that a server has sent, which may be relative to `base`. Raises UntrustedDataError."""
    try:
        return urljoin(base, url)
    except ValueError as error:
        raise UntrustedDataError(f"{base} names {url!r:.200}, which is not a URL: {error}") from error


def wait_seconds(text: str | None, url: str, now: float | None = None) -> float | None:
    """Return the seconds that a Retry-After asks for, also in the odd forms that servers send; None if it asks nothing.

    A number so large that it must be a time since 1970 is taken for one, in seconds or milliseconds. What is still
    absurd is clamped, and told.
    """
    if text is None:
        return None
    now = time.time() if now is None else now
    try:
        seconds = float(text)
    except ValueError:
        left = parse_retry_after(text, datetime.fromtimestamp(now, UTC))
        seconds = nan if left is None else now + left
    if not seconds >= 0:  # nan too
        log.warning("%s sent a Retry-After that is not valid: %.40r", url, text)
        return None
    if seconds >= EPOCH_FROM:
        seconds = (seconds / 1000 if seconds >= MILLISECONDS_FROM else seconds) - now
        if seconds <= 0:  # the clocks differ, say: that is no wish to be asked at once
            return None
    if seconds > CLAMPED_WAIT:
        log.warning("%s sent a Retry-After of %.40s; asking again after a day", url, text)
        return CLAMPED_WAIT
    return seconds


def _any_status(_response: httpx.Response, _url: str) -> None:
    """Leave the status to the caller."""


def _parameters(parameters: dict[str, str]) -> list[dict[str, str]]:
    """Return the parameters of a Parameters resource, one for each value: version 4 allows no commas."""
    return [
        {"name": name, "valueInstant" if name in ("_since", "_until") else "valueString": value}
        for name, values in parameters.items()
        for value in values.split(",")
    ]


def _document(body: bytes, url: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UntrustedDataError(f"{url} did not send valid JSON: {error}; is it a FHIR server?") from error
    if not isinstance(document, dict):
        raise UntrustedDataError(f"{url} sent no manifest; is it a FHIR server?")
    return document


def _is_transient(body: bytes) -> bool:
    """Tell whether an error says that the next try may succeed: an issue of code transient (FHIR R4, issue-type)."""
    try:
        document = orjson.loads(body)
        return any(issue.get("code") == "transient" for issue in document["issue"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False


def _refusal(response: httpx.Response, body: bytes) -> MockExportError:
    """Build the error for an answer, with what its OperationOutcome says."""
    status, told = response.status_code, outcome_text(body)
    message = f"{response.url} answered {status} {response.reason_phrase}".rstrip() + (f": {told}" if told else "")
    if status in (UNAUTHORIZED, FORBIDDEN):
        return NotAuthorisedError(message, remedy=Remedy.TOKEN)
    if status in (NOT_FOUND, GONE):
        return NotFoundError(message)
    if status >= SERVER_ERROR:
        return UnreachableError(message)
    return UntrustedDataError(message)
