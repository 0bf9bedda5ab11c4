"""A server that says byte for byte what it is told to, so that it can misbehave in any way."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

Answer: TypeAlias = "bytes | Callable[[Request, socket.socket], None]"
"""The bytes to send before the connection is closed, or what sends them."""

STALL_SECONDS = 60
REQUEST_LIMIT = 1 << 20


@dataclass(frozen=True)
class Request:
    """What a client asked for: the target as it stood on the first line, header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


def http(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """A sound answer; the name of a header is given with underscores."""
    sent = {"Content-Length": str(len(body)), "Connection": "close"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 1000, end: bytes = b"0\r\n\r\n", **headers: str) -> bytes:
    """An answer without a length, in chunks; `end` is what closes a whole one."""
    names = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n{names}\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def json(document: object) -> bytes:
    """A sound answer of JSON."""
    return http(orjson.dumps(document), Content_Type="application/json")


@contextmanager
def refusing() -> Iterator[str]:
    """A URL whose port refuses every connection, and is nobody else's meanwhile: it is bound, and does not listen."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@dataclass
class ScriptedServer:
    """Listens on loopback; `answers` says what to answer to which target, all others are 404, and HEAD is 405."""

    answers: dict[str, Answer] = field(default_factory=dict)
    heads: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.released = threading.Event()  # the test is over: whoever stalls may go
        self.stalled = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(STALL_SECONDS)
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(STALL_SECONDS)
            assert not thread.is_alive()

    def has(self, export: str, bodies: Mapping[str, Answer], rows: Mapping[str, int] | None = None) -> None:
        """Serve an export, each download's data by its answer; `rows` is what the downloads declare."""
        self.answers["/api/export"] = json({"data": {"export_ids": [export]}})
        self.answers[f"/api/export/{export}"] = json({"data": {"id": export, "download_ids": list(bodies)}})
        for download, answer in bodies.items():
            path = f"/api/export/{export}/{download}"
            self.answers[path] = json({"data": {"id": download, "rows": (rows or {}).get(download)}})
            self.answers[f"{path}/data"] = answer

    def asked_for(self) -> list[str]:
        """The targets of all requests but HEAD, in order."""
        return [request.target for request in self.requests if request.method != "HEAD"]

    def stall_after(self, sent: bytes = b"") -> Answer:
        """Send this much, then nothing more until the test is over."""

        def answer(_request: Request, connection: socket.socket) -> None:
            connection.sendall(sent)
            self.stalled.set()
            self.released.wait(STALL_SECONDS)

        return answer

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = self._read(connection)
            if request is None:
                return
            self.requests.append(request)
            answer = self.answers.get(request.target, http(b'{"detail":"Not Found"}', 404))
            if request.method == "HEAD":
                answer = self.heads.get(request.target, http(status=405))
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(request, connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(REQUEST_LIMIT):  # a reset would take away what the client hasn't read yet
                pass

    @staticmethod
    def _read(connection: socket.socket) -> Request | None:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < REQUEST_LIMIT:
            received = connection.recv(REQUEST_LIMIT)
            if not received:
                return None
            head += received
        first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        method, target, _ = first.split(" ")
        headers = (line.split(": ", 1) for line in lines)
        return Request(method, target, {name.lower(): value for name, value in headers})
