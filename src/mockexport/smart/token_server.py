"""The server's end: a token for a client that proves itself, and the check of tokens."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.smart.assertion import Refused, check_assertion
from mockexport.smart.credentials import ASSERTION_TYPE
from mockexport.smart.scopes import granted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mockexport.smart.clients import Client

__all__ = ["TOKEN_SECONDS", "Reply", "TokenServer"]

TOKEN_SECONDS = 300
MOST_KEPT = 10_000  # tokens, and ids of assertions
OK, BAD_REQUEST, UNAUTHORIZED, UNAVAILABLE = 200, 400, 401, 503
FIELDS = ("grant_type", "scope", "client_assertion_type", "client_assertion")


class Reply(NamedTuple):
    """The answer to a request for a token: status and JSON document, to be sent with `Cache-Control: no-store`."""

    status: int
    document: dict[str, Any]


class _Grant(NamedTuple):
    """What a token is good for, and until when."""

    scopes: tuple[str, ...]
    ends: float


class TokenServer:
    """Gives tokens to registered clients, and knows them again until they end. Safe to share between threads.

    Tokens say nothing by themselves, and only their SHA-256 is kept, in memory. `seconds` is how long they are valid;
    `clock` tells the seconds since 1970.
    """

    def __init__(
        self, clients: Mapping[str, Client], *, seconds: float = TOKEN_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self._clients = clients
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._grants: dict[bytes, _Grant] = {}
        self._used: dict[tuple[str, str], float] = {}  # the ids of assertions by client, until these end

    def answer(self, form: Mapping[str, str], token_url: str) -> Reply:
        """Answer a POST to the token endpoint; `token_url` is the one that the client was told."""
        try:
            return self._give(form, token_url)
        except Refused as refused:
            status = UNAUTHORIZED if refused.error == "invalid_client" else BAD_REQUEST
            return Reply(status, {"error": refused.error, "error_description": refused.description})

    def scopes(self, authorization: str | None) -> tuple[str, ...] | None:
        """Return the scopes of the token in an `Authorization` header; None for none, or one that is not valid."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        with self._lock:
            grant = self._grants.get(_digest(token.strip()))
            return grant.scopes if grant and self._clock() < grant.ends else None

    def forget(self) -> None:
        """Let no token be valid any more."""
        with self._lock:
            self._grants.clear()

    def _give(self, form: Mapping[str, str], token_url: str) -> Reply:
        grant_type, scope, assertion_type, assertion = (form.get(name, "") for name in FIELDS)
        if grant_type != "client_credentials":
            raise Refused("unsupported_grant_type", "the grant_type is not client_credentials")
        if assertion_type != ASSERTION_TYPE or not assertion:
            raise Refused("invalid_request", f"there is no client_assertion of the type {ASSERTION_TYPE}")
        now = self._clock()
        proven = check_assertion(assertion, self._clients, token_url, now)
        if not scope:
            raise Refused("invalid_request", "there is no scope")
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._used = {known: ends for known, ends in self._used.items() if now < ends}
            self._grants = {known: grant for known, grant in self._grants.items() if now < grant.ends}
            if len(self._used) >= MOST_KEPT:
                return Reply(UNAVAILABLE, {"error": "temporarily_unavailable"})
            if (used := (proven.client_id, proven.jti)) in self._used:
                raise Refused("invalid_client", "the jti of the assertion was used before")
            self._used[used] = proven.exp
            scopes = granted(scope.split(), self._clients[proven.client_id].scopes)
            if not scopes:
                raise Refused("invalid_scope", "the client has none of these scopes")
            self._grants[_digest(token)] = _Grant(scopes, now + self._seconds)
        return Reply(
            OK,
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": int(self._seconds),
                "scope": " ".join(scopes),
            },
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
