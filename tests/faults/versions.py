"""A server whose downloads change: between requests, during one, and from replica to replica.

Unlike `serve --faults`, it writes each byte itself, so that a body can end in any way that there is, and it is told
what its ETags are: those of a good server, of one that names nothing, or of one that lies.
"""

from __future__ import annotations

import gzip
import random
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.scripted_http import ScriptedServer, http, json
from tests.sources import EXPORT

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.scripted_http import Request

__all__ = ["CHANGES", "ETAGS", "FRAMINGS", "NAMES", "WHENS", "Behaviour", "changing", "versions"]

NAMES = ("a", "b")
ROWS = 1500
COLUMNS = b"patient_id,event_time,event_type,value\n"
SWAPPED = b"event_type,event_time,patient_id,value\n"
TIMES = {"Last-Modified": "Sat, 01 Nov 2025 00:00:00 GMT", "Date": "Sat, 01 Nov 2025 00:00:00 GMT"}
CHUNK = 9973
CUT_RATE = 0.6
CUTS = 3  # of one download; then its bodies come whole

CHANGES = ("same length", "shorter", "longer", "columns")
"""What the other version is: of other rows, as many, fewer or more; or of the same rows with two columns exchanged."""

WHENS = ("between", "during", "replicas", "head")
"""When the other version comes: after some request, in the middle of a body, drawn for each request, or always, but
not in the metadata and for HEAD."""

ETAGS = ("strong", "same", "weak", "weak same", "none", "date")
"""What names the versions: a strong ETag each, one and the same (a lie), a weak one each, a weak one for both, nothing,
or a date that is the same for both."""

FRAMINGS = ("length", "chunked", "close", "gzip")
"""How a body ends: by Content-Length, the last chunk, the end of the connection, or that and the trailer of gzip."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a server behaves; without a change, its bodies break off and no more."""

    change: str | None
    when: str
    etag: str
    framing: str
    declared: bool  # the metadata declare the rows
    cut: str | None = None  # `row` or `inside`: where bodies break off; None is drawn

    def is_knowable(self) -> bool:
        """Tell whether a client can know that bytes of two versions came under one name.

        It can't where nothing that it was told contradicts anything else: no length, no rows, no ETag.
        """
        one_length = self.change in ("same length", "columns")
        if self.when == "during":  # one answer; beyond a length that was promised nothing is sent
            cut_to_length = (self.change, self.framing) == ("longer", "length")
            return not one_length and not cut_to_length and (self.declared or self.framing == "length")
        if self.etag == "same":  # a strong one for two versions says that bytes of both may be joined, but for gzip
            return self.framing == "gzip" or (self.framing == "length" and not one_length)
        return True


@dataclass
class _Server:
    behaviour: Behaviour
    dice: random.Random
    requests: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.changes_after = {name: self.dice.randint(1, 4) for name in NAMES}
        self.heads = self.dice.choice(("full", "full", "short", "refused"))

    def version(self, name: str, *, data: bool) -> int:
        """Which version answers this request."""
        when = self.behaviour.when
        self.requests[name] += 1
        if self.behaviour.change is None:
            return 0
        if when == "between":
            return int(self.requests[name] > self.changes_after[name])
        if when == "during":
            return int(name in self.changed)
        return self.dice.randint(0, 1) if when == "replicas" else int(data)

    def body(self, name: str, version: int) -> bytes:
        return versions(self.behaviour.change)[name][version]

    def names(self, name: str, version: int) -> dict[str, str]:
        """The headers that name a version."""
        return {
            "strong": {"ETag": f'"{name}-{version}"'},
            "same": {"ETag": f'"{name}"'},
            "weak": {"ETag": f'W/"{name}-{version}"'},
            "weak same": {"ETag": f'W/"{name}"'},
            "none": {},
            "date": TIMES,
        }[self.behaviour.etag]

    def metadata(self, name: str) -> bytes:
        with self.lock:
            rows = self.body(name, self.version(name, data=False)).count(b"\n") - 1
        return json({"data": {"id": name, "rows": rows if self.behaviour.declared else None}})

    def head(self, name: str) -> bytes:
        with self.lock:
            version = self.version(name, data=False)
        if self.heads == "refused":
            return http(status=405)
        length = {"Content-Length": str(len(self.body(name, version)))} if self.heads == "full" else {}
        if self.behaviour.framing == "gzip":
            length = {"Content-Encoding": "gzip"}
        return _head(200, {"Accept-Ranges": "bytes", **length, **self.names(name, version)})

    def data(self, name: str, request: Request) -> bytes:
        """The whole answer to a GET, up to where the connection is closed."""
        with self.lock:
            version = self.version(name, data=True)
            told = body = self.body(name, version)
            if self.behaviour.when == "during" and not version and self.behaviour.change:
                self.changed.add(name)
                at = self.dice.randrange(len(COLUMNS), len(body))
                body = body[:at] + self.body(name, 1)[at:]
            names = self.names(name, version)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
            packed = self.behaviour.framing == "gzip"
            start, status, headers = 0, 200, dict(names)
            condition = request.headers.get("if-range")
            if wanted and not packed and condition in (None, *names.values()):
                start, last = int(wanted[1]), int(wanted[2] or len(told) - 1)
                if start >= len(told):
                    return http(status=416, Content_Range=f"bytes */{len(told)}")
                last = min(last, len(told) - 1)
                status, told, body = 206, told[start : last + 1], body[start : last + 1]
                headers["Content-Range"] = f"bytes {start}-{last}/{len(self.body(name, version))}"
            if packed:
                headers["Content-Encoding"] = "gzip"
                told = body = gzip.compress(body, mtime=0)
            if self.behaviour.framing == "length":
                body = body[: len(told)]  # a server sends no more than it has promised
            return self._framed(status, headers, told, body, self._cut(name, body))

    def _cut(self, name: str, body: bytes) -> int | None:
        """Draw where a body breaks off, if it does."""
        if self.cuts[name] >= CUTS or self.dice.random() > CUT_RATE or len(body) < 1000:
            return None
        self.cuts[name] += 1
        at = self.dice.randrange(500, len(body) - 100)
        if (self.behaviour.cut or self.dice.choice(("row", "inside"))) == "row":
            return body.rfind(b"\n", 0, at) + 1 or at
        return at + 1 if body[at - 1 : at] == b"\n" else at

    def _framed(self, status: int, headers: dict[str, str], told: bytes, body: bytes, cut: int | None) -> bytes:
        sent = body[:cut]
        if self.behaviour.framing == "length":
            return _head(status, {"Content-Length": str(len(told)), **headers}) + sent
        if self.behaviour.framing == "chunked":
            pieces = [sent[at : at + CHUNK] for at in range(0, len(sent), CHUNK)]
            framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            return _head(status, {"Transfer-Encoding": "chunked", **headers}) + framed + (b"0\r\n\r\n" * (cut is None))
        return _head(status, headers) + sent


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


_versions: dict[str | None, dict[str, tuple[bytes, bytes]]] = {}


def versions(change: str | None) -> dict[str, tuple[bytes, bytes]]:
    """The two versions of each download. All rows are of one length, so that those of both begin at the same places."""
    if change not in _versions:
        rows = {"shorter": ROWS * 2 // 3, "longer": ROWS * 4 // 3}.get(change or "", ROWS)
        _versions[change] = {
            name: (_csv(name, "P", ROWS), _csv(name, "P" if change == "columns" else "Q", rows, change == "columns"))
            for name in NAMES
        }
    return _versions[change]


def _csv(name: str, letter: str, rows: int, swapped: bool = False) -> bytes:
    def row(n: int) -> bytes:
        fields = (f"{letter}{name}{n * n % 7}", "2025-08-26T00:00:04Z", f"t{n % 3:02}")
        return ",".join((*(reversed(fields) if swapped else fields), f"{n % 100:02}")).encode() + b"\n"

    return (SWAPPED if swapped else COLUMNS) + b"".join(row(n) for n in range(rows))


@contextmanager
def changing(behaviour: Behaviour, seed: int) -> Iterator[str]:
    """Serve two downloads that behave so; what the block gets is the URL."""
    server = _Server(behaviour, random.Random(f"{behaviour}/{seed}"))
    with ScriptedServer() as scripted:
        scripted.has(EXPORT, {})
        scripted.answers[f"/api/export/{EXPORT}"] = json({"data": {"id": EXPORT, "download_ids": list(NAMES)}})
        for name in NAMES:
            path = f"/api/export/{EXPORT}/{name}"

            def metadata(_request: Request, connection: socket.socket, name: str = name) -> None:
                connection.sendall(server.metadata(name))

            def head(_request: Request, connection: socket.socket, name: str = name) -> None:
                connection.sendall(server.head(name))

            def data(request: Request, connection: socket.socket, name: str = name) -> None:
                connection.sendall(server.data(name, request))

            scripted.answers |= {path: metadata, f"{path}/data": data}
            scripted.heads[f"{path}/data"] = head
        yield scripted.url
