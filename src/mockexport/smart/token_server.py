"""The server's end: a token for a client that proves itself, and the check of tokens."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.errors import UnreachableError
from mockexport.shared import InMemory, NoRoomError
from mockexport.smart.assertion import Refused, check_assertion
from mockexport.smart.credentials import ASSERTION_TYPE
from mockexport.smart.scopes import granted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.shared import Documents
    from mockexport.smart.clients import Client

__all__ = ["TOKEN_SECONDS", "Reply", "TokenServer"]

TOKEN_SECONDS = 300
MOST_KEPT = 10_000  # tokens, and as many ids of assertions
TOKEN, USED = "smart-token", "smart-assertion"  # kinds of documents
OK, BAD_REQUEST, UNAUTHORIZED, UNAVAILABLE = 200, 400, 401, 503
FIELDS = ("grant_type", "scope", "client_assertion_type", "client_assertion")


log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """The answer to a request for a token: status and JSON document, to be sent with `Cache-Control: no-store`."""

    status: int
    document: dict[str, Any]


class TokenServer:
    """Gives tokens to registered clients, and knows them again until they end. Safe to share between threads.

    Tokens say nothing by themselves, and only their SHA-256 is kept, in `documents`: servers that share these know each
    other's tokens, and take each assertion once among them. `seconds` is how long a token is valid.
    """

    def __init__(
        self, clients: Mapping[str, Client], documents: Documents | None = None, *, seconds: float = TOKEN_SECONDS
    ) -> None:
        self._clients = clients
        self._documents = documents or InMemory()
        self._seconds = seconds

    def answer(self, form: Mapping[str, str], token_url: str) -> Reply:
        """Answer a POST to the token endpoint; `token_url` is the one that the client was told."""
        try:
            return self._give(form, token_url)
        except Refused as refused:
            status = UNAUTHORIZED if refused.error == "invalid_client" else BAD_REQUEST
            return Reply(status, {"error": refused.error, "error_description": refused.description})
        except (NoRoomError, UnreachableError) as error:
            log.warning("no token can be given: %s", "there are too many" if isinstance(error, NoRoomError) else error)
            return Reply(UNAVAILABLE, {"error": "temporarily_unavailable"})

    def scopes(self, authorization: str | None) -> tuple[str, ...] | None:
        """Return the scopes of the token in an `Authorization` header; None for none, or one that is not valid.

        Raises UnreachableError if the documents can't be reached.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        grant = self._documents.get(TOKEN, _digest(token.strip()))
        return tuple(json.loads(grant.body)) if grant else None

    def forget(self) -> None:
        """Let no token be valid any more."""
        for name in self._documents.names(TOKEN):
            self._documents.delete(TOKEN, name)

    def _give(self, form: Mapping[str, str], token_url: str) -> Reply:
        grant_type, scope, assertion_type, assertion = (form.get(name, "") for name in FIELDS)
        if grant_type != "client_credentials":
            raise Refused("unsupported_grant_type", "the grant_type is not client_credentials")
        if assertion_type != ASSERTION_TYPE or not assertion:
            raise Refused("invalid_request", f"there is no client_assertion of the type {ASSERTION_TYPE}")
        now = self._documents.clock()
        proven = check_assertion(assertion, self._clients, token_url, now)
        if not scope:
            raise Refused("invalid_request", "there is no scope")
        used = _digest(json.dumps([proven.client_id, proven.jti]))
        if not self._documents.add(USED, used, b"", proven.exp, most=MOST_KEPT):
            raise Refused("invalid_client", "the jti of the assertion was used before")
        scopes = granted(scope.split(), self._clients[proven.client_id].scopes)
        if not scopes:
            raise Refused("invalid_scope", "the client has none of these scopes")
        token = secrets.token_urlsafe(32)
        self._documents.add(TOKEN, _digest(token), json.dumps(scopes).encode(), now + self._seconds, most=MOST_KEPT)
        return Reply(
            OK,
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": int(self._seconds),
                "scope": " ".join(scopes),
            },
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
