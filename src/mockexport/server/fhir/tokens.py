"""Access tokens of SMART Backend Services: the endpoint that gives them, and what each of them is good for.

Who gets one is decided elsewhere, by whatever has the two methods of `Tokens`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

import orjson
from anyio.to_thread import run_sync
from fastapi import HTTPException, Request
from fastapi.responses import Response

from mockexport.bulk_wire import FHIR, JSON, issue
from mockexport.server.fhir.refusal import RETRY_SECONDS, Refusal, reaching, read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

__all__ = ["Tokens", "check_types", "readable_types", "token_check", "token_response"]

FORM = "application/x-www-form-urlencoded"
MOST_BYTES = 1 << 16  # of a request for a token
UNAVAILABLE = 503
READ = re.compile(r"system/(\*|[A-Z][A-Za-z]*)\.(?:c?ru?d?s?|read|\*)")
"""A scope that allows to read a type of resources, or all (SMART App Launch, versions 1 and 2)."""


class Tokens(Protocol):
    """Gives tokens, and knows them again. Safe to share between threads; both methods may wait for a database."""

    def answer(self, form: Mapping[str, str], token_url: str) -> tuple[int, dict[str, Any]]:
        """Return status and document for a POST to the token endpoint, whose URL the client was told."""

    def scopes(self, authorization: str | None) -> tuple[str, ...] | None:
        """Return the scopes of the token in a header `Authorization`; None if there is no valid one.

        Raises UnreachableError.
        """


async def token_response(tokens: Tokens, request: Request, token_url: str) -> Response:
    """Answer a request for a token."""
    body = (await read_body(request, MOST_BYTES)).decode("ascii", "replace")
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    fields = parse_qsl(body, keep_blank_values=True) if is_form else []
    if not is_form or len(dict(fields)) < len(fields):
        wrong = f"the body is not {FORM}" if not is_form else "a parameter is there twice"
        status, document = 400, {"error": "invalid_request", "error_description": wrong}
    else:
        status, document = await run_sync(tokens.answer, dict(fields), token_url)
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    if status == UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Response(orjson.dumps(document), status, headers, JSON)


def token_check(tokens: Tokens) -> Callable[[Request], Awaitable[None]]:
    """Return what requires a valid token, and notes in the request which types it allows to read."""

    def scopes_of(authorization: str | None) -> tuple[str, ...] | None:
        with reaching():
            return tokens.scopes(authorization)

    async def check(request: Request) -> None:
        sent = request.headers.get("authorization")
        scopes = await run_sync(scopes_of, sent)
        if scopes is None:
            wanted = f'Bearer realm="{FHIR}"' + (', error="invalid_token"' if sent else "")
            raise HTTPException(401, "A valid access token is required", {"WWW-Authenticate": wanted})
        request.state.types = readable_types(scopes)

    return check


def readable_types(scopes: Iterable[str]) -> frozenset[str] | None:
    """Return the types that scopes allow to read; None for all."""
    types = frozenset(found[1] for scope in scopes if (found := READ.fullmatch(scope)))
    return None if "*" in types else types


def check_types(request: Request, types: Iterable[str]) -> frozenset[str] | None:
    """Return the types that a request may read, None for all. Raises Refusal if one of `types` is not among them."""
    allowed: frozenset[str] | None = getattr(request.state, "types", None)
    if allowed is not None and (others := sorted(frozenset(types) - allowed)):
        raise Refusal(403, issue("forbidden", f"The scopes of the token do not allow to read {', '.join(others)}"))
    return allowed
