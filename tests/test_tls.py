"""Certificates: one that nobody vouches for is refused at once, unless it is named."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.scripted_http import ScriptedServer
from tests.sources import WAIT_SECONDS

from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from tests.scripted_http import Request


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"data":{"export_ids":[]}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class TlsServer(ThreadingHTTPServer):
    """Counts who knocks."""

    knocked = 0

    def get_request(self) -> Any:
        self.knocked += 1
        return super().get_request()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    made = [*("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1")]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run([openssl, *made], check=True, capture_output=True, timeout=WAIT_SECONDS)
    path.write_bytes(path.read_bytes() + path.with_name(f"{path.name}.crt").read_bytes())
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[TlsServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with TlsServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(WAIT_SECONDS)


def test_a_certificate_that_nobody_vouches_for_is_refused_without_another_try(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    url = f"https://127.0.0.1:{tls_server.server_port}"
    done = run_command(tmp_path, "exports", "list", "-s", url)
    assert done.code == 5
    assert "is not trusted" in done.stderr
    assert tls_server.knocked == 1


def test_one_that_is_named_is_trusted(tls_server: TlsServer, certificate: Path, tmp_path: Path) -> None:
    url = f"https://127.0.0.1:{tls_server.server_port}"
    done = run_command(tmp_path, "exports", "list", "-s", url, "--ca-bundle", f"{certificate}.crt")
    assert (done.code, done.stdout) == (0, "[]\n"), done.stderr


def test_it_is_trusted_for_its_own_name_alone(tls_server: TlsServer, certificate: Path, tmp_path: Path) -> None:
    url = f"https://localhost:{tls_server.server_port}"
    done = run_command(tmp_path, "exports", "list", "-s", url, "--ca-bundle", f"{certificate}.crt")
    assert done.code == 5
    assert "is not trusted" in done.stderr


@pytest.mark.parametrize("held", [None, b"", b"no certificate"])
def test_a_bundle_that_can_not_be_read_is_a_usage_error(tmp_path: Path, held: bytes | None) -> None:
    bundle = tmp_path / "bundle"
    if held is not None:
        bundle.write_bytes(held)
    done = run_command(tmp_path, "exports", "list", "-s", "https://127.0.0.1:9", "--ca-bundle", bundle)
    assert done.code == 2, done.stderr
    assert f"the CA bundle {bundle} can't be read" in done.stderr


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_https_goes_through_a_tunnel(
    tls_server: TlsServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[str] = []

    def tunnel(request: Request, connection: socket.socket) -> None:
        asked.append(f"{request.method} {request.target}")
        with socket.create_connection(("127.0.0.1", tls_server.server_port)) as there:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=carry, args=(there, connection))
            back.start()
            carry(connection, there)
            back.join(WAIT_SECONDS)

    with ScriptedServer() as proxy:
        proxy.answers[f"127.0.0.1:{tls_server.server_port}"] = tunnel
        monkeypatch.setenv(name, proxy.url)
        url = f"https://127.0.0.1:{tls_server.server_port}"
        with closing(HttpSource(url, ca_bundle=f"{certificate}.crt", retries=Retries(0))) as source:
            assert source.exports() == []
    assert asked == [f"CONNECT 127.0.0.1:{tls_server.server_port}"]


def carry(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class TlsProxy:
    """Ends TLS before a server, as a load balancer does, and tells it nothing of that."""

    def __init__(self, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.port = 0  # of the server
        self._runner = asyncio.Runner()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._runner.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._runner.get_loop().call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_SECONDS)
        self._runner.close()
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._forward, sock=self._listener, ssl=self._context):
            await self._stop.wait()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(_copy(reader, its_writer), _copy(its_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # one of them has gone
    finally:
        writer.close()


def test_a_fhir_export_behind_a_proxy_that_ends_tls_has_urls_of_the_proxy(certificate: Path, tmp_path: Path) -> None:
    with TlsProxy(certificate) as proxy:
        with serve_command("--public-url", proxy.url) as server:
            proxy.port = server.port
            asked = ("count", "group/demo", "-s", f"fhir+{proxy.url}/fhir", "--ca-bundle", f"{certificate}.crt")
            done = run_command(tmp_path, *asked)
            assert done.code == 0, done.stderr
            assert json.loads(done.stdout)["totals"] == {"Observation": 18784, "Patient": 4}
            with httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
                described = client.get("/fhir/metadata").json()
        assert described["implementation"]["url"] == f"{proxy.url}/fhir"


@pytest.mark.gate
@pytest.mark.parametrize(
    "url",
    ["exports.example", "ftp://a.example", "https://", "https://a.example/x", "https://u:p@a.example", "https://a:b"],
)
def test_a_public_url_that_is_not_that_of_a_server_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    done = run_command(tmp_path, "serve", "--port", "0", "--public-url", url)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"mockexport: error: the public URL {url!r} ")
    assert done.stderr.endswith("expected one such as https://exports.example.org\n")
    assert done.stderr.count("\n") == 1
