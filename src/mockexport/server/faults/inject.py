"""Applies faults to one request and its response (docs/faults.md).

Most faults change the ASGI messages of the response. To break a connection in the middle of a response takes its
transport, which is an attribute of the object that uvicorn's `send` is a method of.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from mockexport.server.faults.bulk import BulkFaults, earlier, is_bulk, outcome
from mockexport.server.faults.spec import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mockexport.server.faults.spec import FaultPlan, Rule

    Filter = Callable[[bytes, bool], bytes]  # a part of a body, and whether more follows
    Change = Callable[[Any], None]  # of a JSON document

__all__ = ["Faults", "FaultyExchange"]

SLOW_PARTS_A_SECOND = 10
POLL_SECONDS = 0.1
COMMAS = 3  # in a row
CODES = {401: "login", 404: "not-found", 410: "not-found", 429: "throttled"}  # of an issue, by the status
STOPS = ("cut", "end", "reset", "stall")  # they end a body after a number of bytes
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends a TCP reset


class _Aborted(Exception):  # noqa: N818 - not an error: the user requested it
    """Ends the application's work on a response whose connection is closed."""


@dataclass
class Faults:
    """An ASGI middleware that applies the faults of a plan to an application.

    Which rules apply to a request depends on the seed, the rule, the method and path, and the number of earlier
    requests with these; not on time or other paths. So clients that send the same requests meet the same faults,
    however many run at a time, and whether or not they send HEAD first. In paths of the FHIR API, a job is named by
    its number, not by its id.
    """

    application: ASGIApp
    plan: FaultPlan
    _requests: Counter[str] = field(default_factory=Counter)
    _applied: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._bulk = BulkFaults(self.plan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, with the faults that apply to this request."""
        if scope["type"] == "http" and is_bulk(scope["path"]):
            matching = self._matching(scope["method"], self._bulk.known_path(scope["path"]))
            await FaultyExchange(matching, self._bulk).run(self.application, scope, receive, send)
        elif scope["type"] == "http" and (matching := self._matching(scope["method"], scope["path"])):
            await FaultyExchange(matching).run(self.application, scope, receive, send)
        else:
            await self.application(scope, receive, send)

    def _matching(self, method: str, path: str) -> list[tuple[Rule, random.Random]]:
        request = f"{method} {path}"
        self._requests[request] += 1
        matching = []
        for number, rule in enumerate(self.plan.rules):
            if not ROUTES[rule.route].fullmatch(path):
                continue
            rng = random.Random(f"{self.plan.seed}/{number}/{request}/{self._requests[request]}")
            spent = rule.times is not None and self._applied[number, request] >= rule.times
            if rng.random() < rule.p and not spent:
                self._applied[number, request] += 1
                matching.append((rule.draw(rng), rng))
        return matching


class FaultyExchange:
    """A request and its response with the given faults, each with its own random numbers.

    Of two rules with the same fault the last one applies.
    """

    def __init__(self, matching: list[tuple[Rule, random.Random]], bulk: BulkFaults | None = None) -> None:
        self._bulk = bulk  # for a request of the FHIR API
        self._rules = {rule.fault: rule for rule, _ in matching}
        self._rngs = {rule.fault: rng for rule, rng in matching}
        stops = [rule for fault, rule in self._rules.items() if fault in STOPS]
        self._stops = min(stops, key=lambda rule: int(rule.amount), default=None)
        self._sent = 0
        self._head_only = False
        self._chunked = False
        self._start: Message | None = None
        self._change: Change | None = None
        self._json = b""
        self._filters: list[Filter] = []
        self._left: int | None = None  # bytes until a wrong Content-Length is reached

    async def run(self, application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and send its response with the faults."""
        self._send = send
        self._cycle: Any = getattr(send, "__self__", None)
        if "latency" in self._rules:
            await asyncio.sleep(float(self._rules["latency"].amount))
        if refused := self._rules.get("status") or self._rules.get("transient"):
            await self._refuse(refused)(scope, receive, send)
            return
        if self._bulk and (answer := self._bulk.answer(self._rules, scope)):
            await answer(scope, receive, send)
            return
        scope = self._bulk.scope(scope) if self._bulk else scope
        self._head_only = scope["method"] == "HEAD"
        self._chunked = scope["http_version"] != "1.0"
        if "ignore-range" in self._rules:
            scope = _without(scope, b"range")
        if "replica" in self._rules:
            scope = _without(_without(scope, b"range"), b"if-none-match")  # the client's bytes are of another version
            self._filters.append(_line_filter(_exchange_columns))
        if "malformed" in self._rules:
            damage = _damage(float(self._rules["malformed"].amount), self._rngs["malformed"])
            self._filters.append(_line_filter(damage))
        if "twice" in self._rules:
            scope = _without(scope, b"range")
            repeat = _repeat(float(self._rules["twice"].amount), self._rngs["twice"], header=not self._bulk)
            self._filters.append(_line_filter(repeat))
        self._change = self._change_of(scope)
        if self._filters:
            scope = _without(scope, b"accept-encoding")  # rows of a compressed body can't be changed
        try:
            await application(scope, receive, self._forward)
        except _Aborted:
            return

    def _refuse(self, rule: Rule) -> Response:
        """Return the response with a status in place of the application's."""
        status, told = int(rule.amount), f"a fault on request: {rule.amount}"
        headers = {"Retry-After": _retry_after(rule.retry_after)} if rule.retry_after else {}
        if self._bulk:
            code = rule.fault if rule.fault == "transient" else CODES.get(status, "exception")
            return outcome(status, code, told, **headers)
        return JSONResponse({"detail": told}, status, headers)

    def _change_of(self, scope: Scope) -> Change | None:
        """Return how JSON documents are changed, if they are."""
        if self._bulk:
            return partial(self._bulk.change, self._rules, scope)
        return self._change_metadata if {"rows", "no-rows", "window"} & set(self._rules) else None

    def _change_metadata(self, document: Any) -> None:
        """Change the declared rows of a download, or its declared window of time."""
        if "window" in self._rules:
            document["data"]["end_time"] = earlier(document["data"]["end_time"], self._rules["window"].amount)
        if "rows" in self._rules:
            document["data"]["rows"] = max(0, document["data"]["rows"] + int(self._rules["rows"].amount))
        if "no-rows" in self._rules:
            document["data"]["rows"] = None

    async def _forward(self, message: Message) -> None:
        """Send a message of the response, changed by the rules."""
        if message["type"] == "http.response.start":
            if self._change and _is_json(message) and not self._head_only:
                self._start = message  # its Content-Length depends on the body
            else:
                await self._send_head(message)
            return
        if self._head_only:
            await self._send(message)
            return
        if self._start and self._change:
            await self._send_changed(self._start, self._change, message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        for apply in self._filters:
            body = apply(body, more)
        await self._send_body(body, more=more)

    async def _send_head(self, message: Message) -> None:
        headers = {name.lower(): value for name, value in message["headers"]}
        if "etag" in self._rules and b"etag" in headers:
            headers[b"etag"] = b'"%016x"' % self._rngs["etag"].getrandbits(64)
        if "replica" in self._rules and b"etag" in headers:
            headers[b"etag"] = headers[b"etag"][:-1] + b'-replica"'
        if "weak-etag" in self._rules and b"etag" in headers:
            headers[b"etag"] = b"W/" + headers[b"etag"].removeprefix(b"W/")
        if "wrong-range" in self._rules and b"content-range" in headers:
            unit, _, rest = headers[b"content-range"].partition(b" ")
            positions, _, length = rest.partition(b"/")
            if b"-" in positions:
                first, last = (int(position) + 1 for position in positions.split(b"-"))
                headers[b"content-range"] = b"%s %d-%d/%s" % (unit, first, last, length)
        if "retry-after" in self._rules and b"retry-after" in headers:
            headers[b"retry-after"] = _retry_after(self._rules["retry-after"].amount).encode()
        if "twice" in self._rules:
            headers.pop(b"content-length", None)
        if self._stops and self._stops.fault == "end":
            headers.pop(b"content-length", None)  # with one, the early end would not look complete
        if "length" in self._rules:
            self._change_length(self._rules["length"].amount, headers)
        self._chunked = self._chunked and b"content-length" not in headers
        await self._send({**message, "headers": list(headers.items())})

    def _change_length(self, amount: str, headers: dict[bytes, bytes]) -> None:
        """Change the Content-Length, if there is one, by an amount with a sign, or set it to an amount without."""
        length = headers.get(b"content-length")
        relative = amount[0] in "+-"
        if relative and length is None:
            return
        self._left = max(0, int(length or 0) + int(amount)) if relative else int(amount)
        headers[b"content-length"] = b"%d" % self._left

    async def _send_changed(self, start: Message, change: Change, message: Message) -> None:
        """Change a JSON document; the response is small, and sent in one part."""
        self._json += message.get("body", b"")
        if message.get("more_body", False):
            return
        try:
            document = json.loads(self._json)
            change(document)
            self._json = json.dumps(document).encode()
        except (ValueError, KeyError, TypeError):
            pass  # an error response, or no declared rows: sent as it is
        headers = {**dict(start["headers"]), b"content-length": b"%d" % len(self._json)}
        await self._send_head({**start, "headers": list(headers.items())})
        await self._send_body(self._json, more=False)

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._left is not None:
            await self._send_with_wrong_length(body, self._left, more=more)
            return
        if self._stops and self._sent + len(body) >= int(self._stops.amount):
            await self._stop(self._stops, body, int(self._stops.amount) - self._sent)
        await self._send_slowly(body, more=more)

    async def _send_with_wrong_length(self, body: bytes, left: int, *, more: bool) -> None:
        """Send a body under a wrong Content-Length: bytes beyond it are left out, missing bytes are never sent."""
        kept = body[:left]
        self._left = left - len(kept)
        await self._send_slowly(kept, more=self._left > 0)
        if self._left == 0:
            raise _Aborted
        if not more:
            self._cycle.transport.close()
            raise _Aborted

    async def _send_slowly(self, body: bytes, *, more: bool) -> None:
        self._sent += len(body)
        if "slow" in self._rules and body:
            speed = max(1.0, float(self._rules["slow"].amount))
            size = max(1, int(speed / SLOW_PARTS_A_SECOND))
            for at in range(0, len(body), size):
                await self._send({"type": "http.response.body", "body": body[at : at + size], "more_body": True})
                await asyncio.sleep(len(body[at : at + size]) / speed)
            body = b""
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _stop(self, rule: Rule, body: bytes, size: int) -> None:
        """Send the first `size` bytes of a part, then stop as the rule says."""
        kept, transport = body[: max(0, size)], self._cycle.transport
        if rule.fault == "end":
            await self._send_slowly(kept, more=False)
            raise _Aborted
        if rule.fault == "cut" and rule.where == "inside" and self._chunked:
            # An incomplete chunk, which no HTTP library would write.
            transport.write(b"%x\r\n%s" % (len(body) + 1, kept))
        elif kept:
            await self._send_slowly(kept, more=True)
        if rule.fault == "stall":
            await _until(transport.is_closing)
        elif rule.fault == "reset":
            # A reset discards what the transport has not sent yet, so that goes first.
            await _until(lambda: transport.is_closing() or not transport.get_write_buffer_size())
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            transport.abort()
        transport.close()
        raise _Aborted


async def _until(condition: Callable[[], bool]) -> None:
    """Wait until a property of a transport is true; there are no events for it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def _without(scope: Scope, name: bytes) -> Scope:
    """Return a request without one of its headers."""
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != name]}


def _is_json(start: Message) -> bool:
    return dict(start["headers"]).get(b"content-type") == b"application/json"


def _retry_after(text: str) -> str:
    """Return the header that a rule asks for: seconds, or one of the forms that servers really send."""
    form, _, number = text.rpartition(":")
    if text == "garbage":
        return "soon"
    then = datetime.now(UTC) + timedelta(seconds=int(number))
    return {
        "": number,
        "date": format_datetime(then, usegmt=True),
        "float": f"{number}.5",
        "epoch": f"{then.timestamp():.0f}",
        "epoch-ms": f"{then.timestamp() * 1000:.0f}",
        "negative": f"-{number}",
    }[form]


def _line_filter(change: Callable[[list[bytes]], None]) -> Filter:
    """Return a filter that changes complete lines, however the body is cut."""
    carry = b""

    def apply(part: bytes, more: bool) -> bytes:
        nonlocal carry
        data = carry + part
        whole = len(data) if not more else data.rfind(b"\n") + 1
        data, carry = data[:whole], data[whole:]
        lines = data.splitlines(keepends=True)
        change(lines)
        return b"".join(lines)

    return apply


def _exchange_columns(lines: list[bytes]) -> None:
    """Exchange the first and the third column; the length stays the same."""
    for at, line in enumerate(lines):
        if line.count(b",") >= COMMAS:
            first, second, third, rest = line.split(b",", COMMAS)
            lines[at] = b",".join((third, second, first, rest))


def _repeat(rate: float, rng: random.Random, *, header: bool) -> Callable[[list[bytes]], None]:
    """Return a function that sends each row twice with this probability; never the first line, if it is a `header`."""
    kept = int(header)

    def repeat(lines: list[bytes]) -> None:
        nonlocal kept
        first, kept = lines[:kept], max(0, kept - len(lines))
        rest = lines[len(first) :]
        lines[:] = [*first, *(line for each in rest for line in [each] * (2 if rng.random() < rate else 1))]

    return repeat


def _damage(rate: float, rng: random.Random) -> Callable[[list[bytes]], None]:
    """Return a function that damages each row with this probability, by the loss of its first comma.

    The gaps between damaged rows are drawn from the geometric distribution, by inversion.
    """

    def gaps() -> Iterator[int]:
        while rate > 0:
            yield 1 if rate >= 1 else 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - rate))
        while True:
            yield 1 << 62

    gap = gaps()
    left = 1 + next(gap)  # lines until the next one to damage; never the header

    def damage(lines: list[bytes]) -> None:
        nonlocal left
        at = left - 1
        while at < len(lines):
            lines[at] = lines[at].replace(b",", b";", 1)
            left = 1 + at + next(gap)
            at = left - 1
        left -= len(lines)

    return damage
