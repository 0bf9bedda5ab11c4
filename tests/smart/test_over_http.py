"""Client and server of SMART Backend Services understand each other over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
import pytest
from tests.smart.keys import CLIENT, write_clients, write_key

from mockexport.errors import NotAuthorisedError
from mockexport.smart import KeyFile, SmartTokens, TokenServer, read_clients
from mockexport.smart.tokens import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def http(tmp_path: Path) -> Iterator[tuple[str, TokenServer]]:
    """The base URL of a server on loopback, and what gives its tokens."""
    given = TokenServer(read_clients(write_clients(tmp_path / "clients.json")))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"token_endpoint": f"{base}/token"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.reply(*given.answer(form, f"{base}/token"))

        def reply(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        base = f"http://127.0.0.1:{server.server_port}/fhir"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield base, given
        server.shutdown()
        thread.join()


def over_http(method: str, url: str, headers: Mapping[str, str], body: bytes | None, /) -> Answer:
    response = httpx.request(method, url, headers=dict(headers), content=body, trust_env=False)
    return Answer(response.status_code, response.content)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_client_and_server_understand_each_other_over_http(
    tmp_path: Path, http: tuple[str, TokenServer], kind: str
) -> None:
    base, given = http
    tokens = SmartTokens(base, KeyFile(CLIENT, write_key(tmp_path / "key", kind)), over_http)
    first = tokens.headers(f"{base}/files/1")
    assert given.scopes(first["Authorization"])
    given.forget()
    tokens.refused(first)
    assert given.scopes(tokens.headers(f"{base}/files/1")["Authorization"])


def test_a_client_that_is_not_registered_is_told_so(tmp_path: Path, http: tuple[str, TokenServer]) -> None:
    tokens = SmartTokens(http[0], KeyFile("other", write_key(tmp_path / "key")), over_http)
    with pytest.raises(NotAuthorisedError, match="answered 401, invalid_client: the client is not registered"):
        tokens.headers(http[0])
