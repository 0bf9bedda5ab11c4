"""A FHIR server in this process that answers what it is told to, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["LOST", "Answer", "Asked", "ScriptedFhir", "busy", "cut", "document", "manifest", "outcome", "patients"]

BASE = "/fhir"
STATUS = f"{BASE}/jobs/1"


@dataclass(frozen=True)
class Asked:
    """A request; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """An answer; without a status, the connection is closed instead. `length` is what it claims to be long."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None


Script: TypeAlias = "Answer | Callable[[Asked], Answer]"

LOST = Answer(0)
"""No answer: the connection is closed."""


def document(content: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of JSON; an underscore in a header's name is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, orjson.dumps(content), {"Content-Type": "application/json", **named})


def outcome(status: int, *issues: dict[str, Any], **headers: str) -> Answer:
    """An OperationOutcome."""
    return document({"resourceType": "OperationOutcome", "issue": list(issues)}, status, **headers)


def busy(status: int = 202, after: str | None = "0", **headers: str) -> Answer:
    """An answer without a body that says when to ask again."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, headers=named | ({"Retry-After": after} if after is not None else {}))


def cut(answer: Answer, after: int) -> Answer:
    """Send so many bytes of an answer's body alone, and close the connection."""
    return Answer(answer.status, answer.body[:after], answer.headers, len(answer.body))


def patients(first: int, last: int) -> bytes:
    """NDJSON of the Patients of these numbers."""
    return b"".join(b'{"resourceType":"Patient","id":"p%d"}\n' % n for n in range(first, last + 1))


def manifest(*output: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Make a manifest up."""
    document = {
        "transactionTime": "2026-01-01T00:00:00Z",
        "request": "http://ehr.example/fhir/$export",
        "requiresAccessToken": True,
        "output": list(output),
    }
    return document | more


class ScriptedFhir:
    """Listens on loopback. Answers to one request are given in turn, and the last one from then on; others get 404."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.manifest_answer = Answer(404)
        self._scripts: dict[str, list[Script]] = defaultdict(list)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return self.origin + BASE

    @property
    def status_url(self) -> str:
        return self.origin + STATUS

    def on(self, what: str, *scripts: Script) -> None:
        """Answer a request, such as `GET /fhir/$export`, like this."""
        with self._lock:
            self._scripts[what] = list(scripts)

    def count(self, what: str) -> int:
        return sum(asked.what == what for asked in self.asked)

    def of(self, what: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.what == what]

    @property
    def kick_offs(self) -> int:
        """How many exports have begun, or may have."""
        return sum(asked.path.endswith("$export") for asked in self.asked)

    def export(self, files: Sequence[bytes] = (patients(1, 3), patients(4, 5)), level: str = "", **more: Any) -> None:
        """Serve an export of Patients as a whole: kick-off, status, files, DELETE."""
        self.on(f"GET {BASE}{level}/$export", self.begun())
        output = [
            {"type": "Patient", "url": f"{self.url}/files/{n}", "count": body.count(b"\n")}
            for n, body in enumerate(files, start=1)
        ]
        self.manifest_answer = document(manifest(*output, **more))
        self.on(f"GET {STATUS}", self.manifest_answer)
        for n, body in enumerate(files, start=1):
            self.on(f"GET {BASE}/files/{n}", Answer(body=body))
        self.on(f"DELETE {STATUS}", Answer(202))

    def begun(self) -> Answer:
        """The answer to a kick-off that was accepted."""
        return Answer(202, headers={"Content-Location": self.status_url})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), headers, body)
                with scripted._lock:
                    scripted.asked.append(asked)
                    scripts = scripted._scripts[asked.what]
                    script = (scripts.pop(0) if len(scripts) > 1 else scripts[0]) if scripts else Answer(404)
                with suppress(ConnectionError):  # who was stopped does not wait for an answer
                    self.send(script if isinstance(script, Answer) else script(asked))

            def send(self, answer: Answer) -> None:
                if not answer.status:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                length = len(answer.body) if answer.length is None else answer.length
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(answer.body)
                self.close_connection = length != len(answer.body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as http.server calls them

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
