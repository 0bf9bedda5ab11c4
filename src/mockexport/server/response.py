"""The answer to a request for a download's bytes: all of them, a range, an encoding, or none."""

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
from mockexport.server.streaming import Part
from mockexport.wire import CSV_TYPE

if TYPE_CHECKING:
    from anyio import CancelScope
    from starlette.types import Receive, Scope, Send

    from mockexport.model import Download
    from mockexport.server.headers import Range

__all__ = ["DownloadResponse"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send; without a part, no body."""

    status: int
    headers: dict[str, str]
    part: Part | None = None
    encoding: str | None = None


class DownloadResponse(Response):
    """Answers for one download, and lets go of it as soon as the client has gone away."""

    def __init__(self, bodies: Bodies, download: Download) -> None:
        super().__init__()
        self._bodies = bodies
        self._download = download

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as an ASGI application."""
        try:
            async with create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                plan = await self._plan(scope["method"], Headers(scope=scope))
                await self._send(plan, send)
                group.cancel_scope.cancel()
        except ExceptionGroup as failed:
            (error,) = failed.exceptions
            if isinstance(error, NotFoundError):  # it was there when it was looked up
                raise HTTPException(404, "Download not found") from None
            raise error from None

    async def _plan(self, method: str, asked: Headers) -> Plan:
        # Ranges of what has no strong ETag could not be told from those of another version (RFC 9110, 15.3.7.3).
        in_ranges = is_strong(self._download.etag)
        ranges = in_ranges and method == "GET" and "range" in asked
        encoding = None
        if method == "GET" and not ranges:
            encoding = choose_encoding(_whole(asked, "accept-encoding"), tuple(ENCODINGS))
        tag = entity_tag(self._download, encoding)
        headers = {"accept-ranges": "bytes" if in_ranges else "none", "vary": "Accept-Encoding"}
        headers |= {"etag": tag} if tag else {}
        if names_tag(_whole(asked, "if-none-match"), tag):
            return Plan(304, headers)
        headers["content-type"] = CSV_TYPE
        if encoding:
            headers["content-encoding"] = encoding
            return Plan(200, headers, Part(length=self._bodies.known_length(self._download)), encoding)
        wanted = read_range(asked["range"]) if ranges and asked.get("if-range", tag) == tag else None
        if wanted:
            return await self._plan_range(wanted, headers)
        length = self._bodies.known_length(self._download)
        if length is not None:
            headers["content-length"] = str(length)
        return Plan(200, headers, Part(length=length) if method == "GET" else None)

    async def _plan_range(self, wanted: Range, headers: dict[str, str]) -> Plan:
        length = await self._bodies.length(self._download)
        within = wanted.within(length)
        if within is None:
            del headers["content-type"]
            headers["content-range"] = f"bytes */{length}"
            raise HTTPException(416, f"The range is outside of the {length} bytes", headers)
        start, stop = within
        headers["content-range"] = f"bytes {start}-{stop - 1}/{length}"
        headers["content-length"] = str(stop - start)
        return Plan(206, headers, Part(start, stop, length))

    async def _send(self, plan: Plan, send: Send) -> None:
        raw_headers = [(name.encode(), value.encode()) for name, value in plan.headers.items()]
        start = {"type": "http.response.start", "status": plan.status, "headers": raw_headers}
        if plan.part is None:
            await send(start)
            await send({"type": "http.response.body"})
            return
        with closing(self._bodies.supply(self._download, plan.part, plan.encoding)) as supply:
            hop = await supply.hop()  # before anything is sent: an error can still be told as such
            await send(start)
            try:
                while hop:
                    for chunk in hop:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    hop = await supply.hop()
            except MockExportError as error:
                # The body stays without its end: so the server breaks the connection, and the client sees it.
                logger.warning("broke off download %s of %s: %s", self._download.id, self._download.export, error)
                return
        await send({"type": "http.response.body"})


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _whole(headers: Headers, name: str) -> str:
    """Return a header that may stand in several lines."""
    return ",".join(headers.getlist(name))
