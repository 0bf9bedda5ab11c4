"""The response to a request for a download's bytes: all of them, a range, compressed, or none."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import create_task_group
from fastapi import HTTPException
from fastapi.responses import Response
from starlette.datastructures import Headers

from mockexport.errors import MockExportError, NotFoundError
from mockexport.identity import is_strong
from mockexport.server.bodies import ENCODINGS, Bodies
from mockexport.server.headers import choose_encoding, names_tag, read_range
from mockexport.server.ids import entity_tag
from mockexport.server.streaming import ByteRange
from mockexport.wire import CONTENT_TYPES

if TYPE_CHECKING:
    from anyio import CancelScope
    from starlette.types import Receive, Scope, Send

    from mockexport.model import Download
    from mockexport.server.headers import Range

__all__ = ["DownloadResponse"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Without a byte range there is no body."""

    status: int
    headers: dict[str, str]
    byte_range: ByteRange | None = None
    encoding: str | None = None


class DownloadResponse(Response):
    """The response for one download. It stops reading the source as soon as the client disconnects."""

    def __init__(self, bodies: Bodies, download: Download) -> None:
        super().__init__()
        self._bodies = bodies
        self._download = download

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        try:
            async with create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                plan = await self._plan(scope["method"], Headers(scope=scope))
                await self._send(plan, send)
                group.cancel_scope.cancel()
        except ExceptionGroup as failed:
            (error,) = failed.exceptions
            if isinstance(error, NotFoundError):  # removed since it was looked up
                raise HTTPException(404, "Download not found") from None
            raise error from None

    async def _plan(self, method: str, request: Headers) -> Plan:
        """Decide what to send: HEAD has the headers of GET, and conditions go in the order of RFC 9110, 13.2.2."""
        # Without a strong ETag, ranges of two versions could be combined (RFC 9110, section 15.3.7.3).
        in_ranges = is_strong(self._download.etag)
        ranges = in_ranges and method == "GET" and "range" in request
        encoding = None
        if not ranges:
            encoding = choose_encoding(_joined(request, "accept-encoding"), tuple(ENCODINGS))
        tag = entity_tag(self._download, encoding)
        headers = {"accept-ranges": "bytes" if in_ranges else "none", "vary": "Accept-Encoding"}
        headers |= {"etag": tag} if tag else {}
        if "if-match" in request and not names_tag(_joined(request, "if-match"), tag, strong=True):
            raise HTTPException(412, "If-Match does not name the ETag of these bytes", headers)
        if names_tag(_joined(request, "if-none-match"), tag):
            return Plan(304, headers)
        headers["content-type"] = CONTENT_TYPES[self._download.format]
        if encoding:
            headers["content-encoding"] = encoding
        wanted = read_range(request["range"]) if ranges and request.get("if-range", tag) == tag else None
        if wanted:
            return await self._plan_range(wanted, headers)
        length = self._bodies.known_length(self._download)
        if length is not None and not encoding:
            headers["content-length"] = str(length)
        return Plan(200, headers, ByteRange(length=length) if method == "GET" else None, encoding)

    async def _plan_range(self, wanted: Range, headers: dict[str, str]) -> Plan:
        length = await self._bodies.length(self._download)
        within = wanted.within(length)
        if within is None:
            del headers["content-type"]
            headers["content-range"] = f"bytes */{length}"
            raise HTTPException(416, f"The range lies outside the {length} bytes", headers)
        start, stop = within
        headers["content-range"] = f"bytes {start}-{stop - 1}/{length}"
        headers["content-length"] = str(stop - start)
        return Plan(206, headers, ByteRange(start, stop, length))

    async def _send(self, plan: Plan, send: Send) -> None:
        raw_headers = [(name.encode(), value.encode()) for name, value in plan.headers.items()]
        start = {"type": "http.response.start", "status": plan.status, "headers": raw_headers}
        if plan.byte_range is None:
            await send(start)
            await send({"type": "http.response.body"})
            return
        with closing(self._bodies.open(self._download, plan.byte_range, plan.encoding)) as reader:
            chunks = await reader.next_chunks()  # before the head is sent, so that an error still gets its own status
            await send(start)
            try:
                while chunks:
                    for chunk in chunks:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    chunks = await reader.next_chunks()
            except MockExportError as error:
                # The body is never completed, so uvicorn closes the connection, and the client notices.
                logger.warning("aborted download %s of %s: %s", self._download.id, self._download.export, error)
                return
        await send({"type": "http.response.body"})


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _joined(headers: Headers, name: str) -> str:
    """Return the value of a header that may be sent as several lines (RFC 9110, section 5.3)."""
    return ",".join(headers.getlist(name))
