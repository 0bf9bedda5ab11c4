"""The client's end: an access token of a FHIR server, a new one when it ends or is refused."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from mockexport.errors import NotAuthorisedError, UnreachableError, UntrustedDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mockexport.smart.credentials import Credentials

__all__ = ["SCOPE", "Answer", "Send", "SmartTokens"]

SCOPE = "system/*.rs"
TOKEN_SECONDS = 300.0  # where the server does not say
EARLY_SECONDS = 30.0  # a token that ends sooner is not sent any more
SHOWN = 200  # characters of what a server said
OK, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, TOO_MANY, SERVER_ERROR = 200, 400, 401, 403, 429, 500
TOKEN = re.compile(r"[!-~]+")  # what a header may have (RFC 6750, section 2.1, is stricter; servers are not)
PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """The answer to a request: its status, and its body, decoded."""

    status: int
    body: bytes


class Send(Protocol):
    """Sends a request once, over HTTP, and returns the answer, whatever its status. It must not follow redirects.

    It bounds the body, and raises its own errors where there is no answer. It may raise them, too, for a status that is
    worth another try.
    """

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
        """Send a request."""


@dataclass(frozen=True, slots=True, repr=False)
class _Token:
    value: str
    ends: float


class SmartTokens:
    """Gets access tokens of the FHIR server at `base`, for a client with these credentials.

    The token endpoint is that of the server's `.well-known/smart-configuration`. `send` does all HTTP; `clock` tells
    the seconds since 1970. Safe to share between threads. Pickled, it takes along no token; `send` must be picklable.
    """

    def __init__(
        self,
        base: str,
        credentials: Credentials,
        send: Send,
        *,
        scope: str = SCOPE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = base.rstrip("/")
        self._credentials = credentials
        self._send = send
        self._scope = scope
        self._clock = clock
        self._lock = threading.Lock()  # one thread gets a token, and the others wait for it
        self._endpoint: str | None = None
        self._token: _Token | None = None

    def __repr__(self) -> str:
        return f"SmartTokens({self._base!r}, {self._credentials!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: another process gets a token of its own."""
        return _made_again, (self._base, self._credentials, self._send, self._scope, self._clock)

    def headers(self, url: str) -> dict[str, str]:
        """Return the header that authorises a request to `url`; none, if that is not the server of `base`.

        Gets a token, if there is none, or if it ends soon. Raises NotAuthorisedError if the server gives none,
        UsageError for credentials that cannot be used, UntrustedDataError for an answer that is not valid,
        UnreachableError where another try may help, and what `send` raises.
        """
        if not self._is_ours(url):
            return {}
        with self._lock:
            if self._token is None or self._clock() >= self._token.ends:
                self._token = self._new_token()
            return {"Authorization": f"Bearer {self._token.value}"}

    def refused(self, headers: Mapping[str, str]) -> None:
        """Say that a request with these headers was answered 401: the next one gets another token.

        Unless another thread has got one by now.
        """
        with self._lock:
            if self._token is not None and headers.get("Authorization") == f"Bearer {self._token.value}":
                self._token = None

    def _is_ours(self, url: str) -> bool:
        try:
            return _origin(url) == _origin(self._base)
        except ValueError:  # whoever requests it is told
            return False

    # ---- The requests ----

    def _new_token(self) -> _Token:
        endpoint = self._endpoint = self._endpoint or self._find_endpoint()
        status, token, told = self._ask(endpoint)
        if status == BAD_REQUEST:  # some servers refuse now and then what they take the next time
            status, token, told = self._ask(endpoint)
        if token:
            return token
        if status == OK:
            raise UntrustedDataError(f"{endpoint} gave no token that can be used: {told}")
        if status in (BAD_REQUEST, UNAUTHORIZED, FORBIDDEN):
            raise NotAuthorisedError(
                f"{endpoint} gave client {self._credentials.client_id!r} no token: it answered {status}{told}"
            )
        raise _failure(endpoint, status)

    def _find_endpoint(self) -> str:
        """Ask the server for its token endpoint."""
        url = f"{self._base}/.well-known/smart-configuration"
        status, body = self._send("GET", url, {"Accept": "application/json"}, None)
        if status != OK:
            raise _failure(url, status)
        document = _object(body)
        endpoint = document.get("token_endpoint") if document else None
        if not isinstance(endpoint, str):
            raise UntrustedDataError(f"{url} names no token endpoint; the server has no SMART Backend Services")
        try:
            scheme, host, _ = _origin(endpoint)
        except ValueError:
            scheme, host = "", ""
        if not host or scheme not in PORTS or (scheme == "http" and _origin(self._base)[0] == "https"):
            raise UntrustedDataError(f"{url} names a token endpoint that is not secure: {_printable(endpoint)}")
        return endpoint

    def _ask(self, endpoint: str) -> tuple[int, _Token | None, str]:
        """Request a token, with a new proof; return the status, and the token or what is told in place of it.

        It raises nothing itself, so that no traceback leads to a frame that knows a secret.
        """
        now = self._clock()
        proof = self._credentials.proof(endpoint, now)
        form = {"grant_type": "client_credentials", "scope": self._scope, **proof.fields}
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", **proof.headers}
        status, body = self._send("POST", endpoint, headers, urlencode(form).encode())
        document = _object(body) or {}
        if status == OK:
            return status, *_read_token(document, now)
        return status, None, _told(document, proof.hidden)


def _made_again(base: str, credentials: Credentials, send: Send, scope: str, clock: Callable[[], float]) -> SmartTokens:
    return SmartTokens(base, credentials, send, scope=scope, clock=clock)


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL. Raises ValueError for one that is not valid."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or PORTS.get(scheme)


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _read_token(document: Mapping[str, Any], now: float) -> tuple[_Token | None, str]:
    """Read the answer with a token (RFC 6749, section 5.1); return the token, or what is wrong with the answer."""
    value, kind, seconds = (document.get(key) for key in ("access_token", "token_type", "expires_in"))
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        return None, "it has no valid access_token"
    if kind is not None and str(kind).lower() != "bearer":
        return None, "it is not a bearer token"
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        seconds = TOKEN_SECONDS
    return _Token(value, now + seconds - min(EARLY_SECONDS, seconds / 2)), ""


def _told(document: Mapping[str, Any], hidden: tuple[str, ...]) -> str:
    """Return what an error says (RFC 6749, section 5.2), without what we sent, should it repeat that."""
    parts = [document[key] for key in ("error", "error_description") if isinstance(document.get(key), str)]
    text = ": ".join(filter(None, parts))
    for secret in hidden:
        text = text.replace(secret, "…")
    return f", {_printable(text)}" if text else ""


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text[: SHOWN + 1])
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"


def _failure(url: str, status: int) -> UnreachableError | UntrustedDataError:
    if status == TOO_MANY or status >= SERVER_ERROR:
        return UnreachableError(f"{url} answered {status}; try again later")
    return UntrustedDataError(f"{url} answered {status}; does the server have SMART Backend Services?")
