"""One request and its answer, with faults: how each of them is done (docs/faults.md).

Most are done on the ASGI messages of the answer. To break a connection in the middle of what was promised takes its
transport, which uvicorn keeps on the object whose method `send` is.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mockexport.server.faults.spec import Rule

    Spoil = Callable[[bytes, bool], bytes]  # a piece of a body, and whether more of it follows

__all__ = ["FaultyExchange"]

SLOW_PIECES_A_SECOND = 10
LOOK_SECONDS = 0.1
COMMAS = 3  # in a row of an export
STOPS = ("cut", "end", "reset", "stall")  # what ends a body after so many bytes
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends a reset


class _Broken(Exception):  # noqa: N818 - no error: it was asked for
    """Ends the application's work on an answer whose connection is gone."""


class FaultyExchange:
    """A request that the given rules strike, each with dice of its own; of two rules of a kind the last one counts."""

    def __init__(self, striking: list[tuple[Rule, random.Random]]) -> None:
        self._rules = {rule.fault: rule for rule, _ in striking}
        self._dice = {rule.fault: dice for rule, dice in striking}
        stops = [rule for fault, rule in self._rules.items() if fault in STOPS]
        self._stops = min(stops, key=lambda rule: int(rule.amount), default=None)
        self._sent = 0
        self._head_only = False
        self._chunked = False
        self._start: Message | None = None
        self._json = b""
        self._spoils: list[Spoil] = []
        self._left: int | None = None  # bytes until a promised Content-Length is full

    async def run(self, application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and spoil it."""
        self._send = send
        self._cycle: Any = getattr(send, "__self__", None)
        if "latency" in self._rules:
            await asyncio.sleep(float(self._rules["latency"].amount))
        if "status" in self._rules:
            await self._refuse(self._rules["status"])
            return
        self._head_only = scope["method"] == "HEAD"
        self._chunked = scope["http_version"] != "1.0"
        if "ignore-range" in self._rules:
            scope = _without(scope, b"range")
        if "replica" in self._rules:
            scope = _without(_without(scope, b"range"), b"if-none-match")  # what the client has is not of this version
            self._spoils.append(_changer(_exchange_columns))
        if "malformed" in self._rules:
            self._spoils.append(_changer(_spoiler(float(self._rules["malformed"].amount), self._dice["malformed"])))
        if self._spoils:
            scope = _without(scope, b"accept-encoding")  # rows can't be changed in a body that is packed
        try:
            await application(scope, receive, self._pass)
        except _Broken:
            return

    async def _refuse(self, rule: Rule) -> None:
        headers = [(b"content-type", b"application/json")]
        if rule.retry_after:
            date, _, seconds = rule.retry_after.rpartition(":")
            when = format_datetime(datetime.now(UTC) + timedelta(seconds=int(seconds)), usegmt=True)
            headers.append((b"retry-after", when.encode() if date else seconds.encode()))
        await self._send({"type": "http.response.start", "status": int(rule.amount), "headers": headers})
        body = json.dumps({"detail": f"a fault, as requested: {rule.amount}"}).encode()
        await self._send({"type": "http.response.body", "body": body})

    async def _pass(self, message: Message) -> None:
        """Hand a message of the answer on, changed as the rules say."""
        if message["type"] == "http.response.start":
            if {"rows", "no-rows"} & set(self._rules) and _is_json(message) and not self._head_only:
                self._start = message  # its Content-Length depends on the body
            else:
                await self._send_head(message)
            return
        if self._head_only:
            await self._send(message)
            return
        if self._start:
            await self._send_rows(self._start, message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        for spoil in self._spoils:
            body = spoil(body, more)
        await self._send_body(body, more=more)

    async def _send_head(self, message: Message) -> None:
        headers = {name.lower(): value for name, value in message["headers"]}
        if "etag" in self._rules and b"etag" in headers:
            headers[b"etag"] = b'"%016x"' % self._dice["etag"].getrandbits(64)
        if "replica" in self._rules and b"etag" in headers:
            headers[b"etag"] = headers[b"etag"][:-1] + b'-replica"'
        if "weak-etag" in self._rules and b"etag" in headers:
            headers[b"etag"] = b"W/" + headers[b"etag"].removeprefix(b"W/")
        if "wrong-range" in self._rules and b"content-range" in headers:
            unit, _, rest = headers[b"content-range"].partition(b" ")
            places, _, length = rest.partition(b"/")
            if b"-" in places:
                first, last = (int(place) + 1 for place in places.split(b"-"))
                headers[b"content-range"] = b"%s %d-%d/%s" % (unit, first, last, length)
        if self._stops and self._stops.fault == "end":
            headers.pop(b"content-length", None)  # with one, no end before its time could be clean
        if "length" in self._rules:
            self._promise(self._rules["length"].amount, headers)
        self._chunked = self._chunked and b"content-length" not in headers
        await self._send({**message, "headers": list(headers.items())})

    def _promise(self, amount: str, headers: dict[bytes, bytes]) -> None:
        """Promise a length that is wrong by an amount with a sign, where there is one; or the amount itself."""
        told = headers.get(b"content-length")
        relative = amount[0] in "+-"
        if relative and told is None:
            return
        self._left = max(0, int(told or 0) + int(amount)) if relative else int(amount)
        headers[b"content-length"] = b"%d" % self._left

    async def _send_rows(self, start: Message, message: Message) -> None:
        """Change the declared rows; the answer is small and goes out as one."""
        self._json += message.get("body", b"")
        if message.get("more_body", False):
            return
        try:
            document = json.loads(self._json)
            if "rows" in self._rules:
                document["data"]["rows"] = max(0, document["data"]["rows"] + int(self._rules["rows"].amount))
            if "no-rows" in self._rules:
                document["data"]["rows"] = None
            self._json = json.dumps(document).encode()
        except (ValueError, KeyError, TypeError):
            pass  # an error's answer, or nothing declared: it goes out as it is
        headers = {**dict(start["headers"]), b"content-length": b"%d" % len(self._json)}
        await self._send_head({**start, "headers": list(headers.items())})
        await self._send_body(self._json, more=False)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._left is not None:
            await self._send_promised(body, self._left, more=more)
            return
        if self._stops and self._sent + len(body) >= int(self._stops.amount):
            await self._stop(self._stops, body, int(self._stops.amount) - self._sent)
        await self._send_slowly(body, more=more)

    async def _send_promised(self, body: bytes, left: int, *, more: bool) -> None:
        """Keep to a Content-Length that is wrong: what is beyond it is not sent, and what is missing never comes."""
        kept = body[:left]
        self._left = left - len(kept)
        await self._send_slowly(kept, more=self._left > 0)
        if self._left == 0:
            raise _Broken
        if not more:
            self._cycle.transport.close()
            raise _Broken

    async def _send_slowly(self, body: bytes, *, more: bool) -> None:
        self._sent += len(body)
        if "slow" in self._rules and body:
            speed = max(1.0, float(self._rules["slow"].amount))
            size = max(1, int(speed / SLOW_PIECES_A_SECOND))
            for at in range(0, len(body), size):
                await self._send({"type": "http.response.body", "body": body[at : at + size], "more_body": True})
                await asyncio.sleep(len(body[at : at + size]) / speed)
            body = b""
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _stop(self, rule: Rule, body: bytes, size: int) -> None:
        """Send the first bytes of a piece, and then no more, in the way that the rule says."""
        kept, transport = body[: max(0, size)], self._cycle.transport
        if rule.fault == "end":
            await self._send_slowly(kept, more=False)
            raise _Broken
        if rule.fault == "cut" and rule.where == "inside" and self._chunked:
            # A chunk that is announced whole and ends before its time: no HTTP library would write that.
            transport.write(b"%x\r\n%s" % (len(body) + 1, kept))
        elif kept:
            await self._send_slowly(kept, more=True)
        if rule.fault == "stall":
            await _until(transport.is_closing)
        elif rule.fault == "reset":
            # First what was written is to leave: a reset throws away what hasn't.
            await _until(lambda: transport.is_closing() or not transport.get_write_buffer_size())
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            transport.abort()
        transport.close()
        raise _Broken


async def _until(true: Callable[[], bool]) -> None:
    """Wait until something of a transport is true; it has no events for that."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)


def _without(scope: Scope, name: bytes) -> Scope:
    """Return a request without one of its headers."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != name]}


def _is_json(start: Message) -> bool:
    return dict(start["headers"]).get(b"content-type") == b"application/json"


def _changer(change: Callable[[list[bytes]], None]) -> Spoil:
    """Return what has whole lines changed, however the body is cut."""
    carry = b""

    def spoil(piece: bytes, more: bool) -> bytes:
        nonlocal carry
        data = carry + piece
        whole = len(data) if not more else data.rfind(b"\n") + 1
        data, carry = data[:whole], data[whole:]
        lines = data.splitlines(keepends=True)
        change(lines)
        return b"".join(lines)

    return spoil


def _exchange_columns(lines: list[bytes]) -> None:
    """Have the first and the third column change places; the length stays the same."""
    for at, line in enumerate(lines):
        if line.count(b",") >= COMMAS:
            first, second, third, rest = line.split(b",", COMMAS)
            lines[at] = b",".join((third, second, first, rest))


def _spoiler(rate: float, dice: random.Random) -> Callable[[list[bytes]], None]:
    """Return what spoils rows, each with this probability: their first comma is taken away."""

    def gaps() -> Iterator[int]:
        while rate > 0:
            yield 1 if rate >= 1 else 1 + int(math.log(1.0 - dice.random()) / math.log(1.0 - rate))
        while True:
            yield 1 << 62

    gap = gaps()
    left = 1 + next(gap)  # rows until the next one to spoil; the header is let through

    def spoil(lines: list[bytes]) -> None:
        nonlocal left
        at = left - 1
        while at < len(lines):
            lines[at] = lines[at].replace(b",", b";", 1)
            left = 1 + at + next(gap)
            at = left - 1
        left -= len(lines)

    return spoil
