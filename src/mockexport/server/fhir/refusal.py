"""Errors of the FHIR API: each answer but a 2xx or 3xx is an OperationOutcome."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import HTTPException
from fastapi.responses import Response
from starlette.exceptions import HTTPException as AnyHTTPException

from mockexport.bulk_wire import FHIR_JSON, issue, operation_outcome
from mockexport.encoding import unicode_only
from mockexport.errors import MockExportError, NotFoundError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from fastapi import Request

__all__ = ["RETRY_SECONDS", "Refusal", "answer_error", "answer_refusal", "fhir_response", "reaching", "read_body"]

RETRY_SECONDS = 5  # after a database that could not be reached

CODES = {
    401: "login",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    429: "throttled",
    501: "not-supported",
    502: "exception",
    503: "transient",
}
"""The code of an issue by the status of the response, where the issue has none of its own."""

logger = logging.getLogger(__name__)


class Refusal(HTTPException):
    """An error of a request, with an issue for each thing that is wrong with it."""

    def __init__(self, status: int, *issues: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, headers=dict(headers or {}))
        self.issues = issues


def fhir_response(resource: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a FHIR resource."""
    return Response(orjson.dumps(resource), status, dict(headers or {}), FHIR_JSON)


@contextmanager
def reaching() -> Generator[None]:
    """Have a request refused with 503 if what the servers of a service share can't be reached in a block."""
    try:
        yield
    except UnreachableError as error:
        logger.warning("exports and tokens can't be looked up: %s", error.message)
        told = issue("transient", "The database of the service can't be reached; try again")
        raise Refusal(503, told, headers={"Retry-After": str(RETRY_SECONDS)}) from error


async def read_body(request: Request, most: int) -> bytes:
    """Read a request's body of at most so many bytes. Raises Refusal."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Refusal(413, issue("too-long", f"The body is longer than {most:,} bytes"))
    return body


async def answer_refusal(_request: Request, error: Exception) -> Response:
    """Answer an HTTPException, ours or the framework's."""
    if isinstance(error, Refusal):
        issues = error.issues
    elif isinstance(error, AnyHTTPException):
        issues = (issue(CODES.get(error.status_code, "invalid"), str(error.detail)),)
    else:
        raise error
    return fhir_response(operation_outcome(*issues), error.status_code, error.headers)


async def answer_error(_request: Request, error: Exception) -> Response:
    """Answer an error of the source: 404 if something is missing, else 502, as this server is a gateway to it."""
    message = error.message if isinstance(error, MockExportError) else str(error)  # a remedy is not for clients
    logger.warning("the source failed: %s", message)
    status = 404 if isinstance(error, NotFoundError) else 502
    return fhir_response(operation_outcome(issue(CODES[status], unicode_only(message))), status)
