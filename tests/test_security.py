"""Tokens stay secret, servers stay closed, and what comes from the other side can do no harm."""

from __future__ import annotations

import os
import re
import sys
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.pairing import by_default, pairs
from tests.scripted_http import ScriptedServer, http, json
from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, csv_body

from mockexport.cli.serve import is_loopback
from mockexport.http.retry import Retries
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    import socket

    from tests.scripted_http import Answer, Request

TOKEN = "s3cr3t-t0ken"
BEARER = f"Bearer {TOKEN}"
PEAK_MB = 100
MEASURED = """
import sys
from pathlib import Path
from mockexport.__main__ import main
try:
    main()
finally:
    peak = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print("peak", peak[0].split()[1], file=sys.stderr)
"""


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\nof no matter\n")
    return path


def authorizations(server: ScriptedServer) -> set[str | None]:
    return {request.headers.get("authorization") for request in server.requests}


def test_the_token_goes_with_every_request(http_server: ScriptedServer, tmp_path: Path, token_file: Path) -> None:
    http_server.has(EXPORT, {"a": http(csv_body(3))})
    done = run_command(tmp_path, "count", EXPORT, "-s", http_server.url, "--token-file", token_file)
    assert done.code == 0
    assert authorizations(http_server) == {BEARER}


def test_it_is_kept_on_a_redirect_to_the_same_origin_and_dropped_on_one_to_another(
    http_server: ScriptedServer,
) -> None:
    with ScriptedServer() as other, closing(HttpSource(http_server.url, token=TOKEN, retries=Retries(0))) as source:
        http_server.answers["/api/export"] = http(status=307, Location="/moved")
        http_server.answers["/moved"] = http(status=307, Location=f"{other.url}/api/export")
        other.answers["/api/export"] = json({"data": {"export_ids": ["demo"]}})
        assert source.exports() == ["demo"]
        assert [request.headers.get("authorization") for request in http_server.requests] == [BEARER, BEARER]
        assert authorizations(other) == {None}


TOLD_AT_LENGTH = {
    "401": http(status=401),
    "503": http(status=503),
    "no JSON": http(b"no json"),
    "redirect": http(status=307, Location="ftp://x/"),
    "no HTTP": b"junk\r\n\r\n",
}


@pytest.mark.parametrize("answer", by_default(TOLD_AT_LENGTH, "401", "redirect"))
def test_nothing_that_is_printed_holds_the_token(
    http_server: ScriptedServer, tmp_path: Path, token_file: Path, answer: bytes
) -> None:
    http_server.answers["/api/export/demo"] = answer
    arguments = ("count", "-s", http_server.url, "--token-file", token_file, "--verbose")
    done = run_command(tmp_path, *arguments, "--retries", "1", "--retry-budget", "2")
    assert done.code in (4, 5, 6)
    assert "Traceback" in done.stderr  # all that can be said was said
    assert TOKEN not in done.stderr + done.stdout


@pytest.mark.gate
def test_a_server_with_a_token_answers_nobody_else_and_does_not_print_it(tmp_path: Path, token_file: Path) -> None:
    with serve_command("--token-file", token_file, "--verbose") as server:
        with httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
            for path in ("/api/export", "/api/export/demo", "/api/export/none", f"/api/export/demo/{'0' * 8}/data"):
                assert client.get(path).status_code == 401
                for sent in ("Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, f"{BEARER}x", "Bearer \xe9"):
                    refused = client.get(path, headers={b"Authorization": sent.encode("latin-1")})
                    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert client.get("/api/export", headers={"Authorization": BEARER}).status_code == 200
            for path in ("/health", "/docs", "/openapi.json"):
                assert client.get(path).status_code == 200
            assert client.get("/openapi.json").json()["components"]["securitySchemes"]
        without = run_command(tmp_path, "count", "-s", server.url)
        done = run_command(tmp_path, "count", "-s", server.url, MOCKEXPORT_TOKEN_FILE=str(token_file))
    assert (without.code, done.code) == (4, 0)
    assert TOKEN not in "".join(server.told)


OTHERS = ["0.0.0.0", "::", "127.1", "example.invalid", "192.0.2.1", ""]


@pytest.mark.parametrize("host", by_default(OTHERS, "0.0.0.0", ""))
def test_a_server_without_a_token_refuses_to_let_others_in(tmp_path: Path, host: str) -> None:
    done = run_command(tmp_path, "serve", "--host", host, "--port", "0")
    assert done.code == 2
    assert "is reachable from other machines: specify --token-file or --insecure" in done.stderr


@pytest.mark.gate
def test_unless_it_is_told_to_or_has_a_token(token_file: Path) -> None:
    # 127.1 is another way to write 127.0.0.1, but not one that is known to be.
    for arguments in (["--insecure"], ["--token-file", token_file]):
        with serve_command("--host", "127.1", *arguments) as server:
            assert httpx.get(f"{server.url}/health", timeout=WAIT_SECONDS).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_nothing_else_is(host: str) -> None:
    assert not is_loopback(host)


NO_TOKENS = [None, b"", b"\n", b"  \nsecond\n", b"\xff\xfe\0", b"a b\n", b"a\x1b[1m\n"]
NEED_TOKENS = {"exports list": ("exports", "list"), "serve --port 0": ("serve", "--port", "0")}


@pytest.mark.parametrize(("command", "held"), pairs(NEED_TOKENS, {repr(held): held for held in NO_TOKENS}))
def test_a_token_file_without_a_token_is_a_usage_error_that_tells_nothing_of_it(
    tmp_path: Path, command: tuple[str, ...], held: bytes | None
) -> None:
    path = tmp_path / "token"
    if held is not None:
        path.write_bytes(held)
    done = run_command(tmp_path, *command, "--token-file", path)
    assert done.code == 2
    assert re.match(rf"mockexport: error: (cannot read )?--token-file {re.escape(str(path))}\b", done.stderr)
    assert done.stderr.count("\n") == 1
    assert "second" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_token_comes_from_a_pipe_too_and_a_pipe_that_nobody_writes_to_has_none(
    http_server: ScriptedServer, tmp_path: Path
) -> None:
    http_server.has(EXPORT, {"a": http(csv_body(3))})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = run_command(tmp_path, "count", EXPORT, "-s", http_server.url, "--token-file", pipe)
    assert (refused.code, refused.stderr) == (
        2,
        f"mockexport: error: --token-file {pipe} has no token on its first line\n",
    )
    descriptor = os.open(pipe, os.O_RDWR)
    try:
        os.write(descriptor, f"{TOKEN}\nmore".encode())
        done = run_command(tmp_path, "count", EXPORT, "-s", http_server.url, "--token-file", pipe)
    finally:
        os.close(descriptor)
    assert done.code == 0, done.stderr
    assert authorizations(http_server) == {BEARER}


LEADING_OUT = ["../outside", "..", ".", "/outside", "a/../../outside", "..\\outside", "a\0b", "C:x", "\u2025/x"]


@pytest.mark.parametrize("name", by_default(LEADING_OUT, "../outside", "..", "/outside", "..\\outside"))
def test_no_id_of_a_server_leads_out_of_the_folder(http_server: ScriptedServer, tmp_path: Path, name: str) -> None:
    http_server.has(EXPORT, {name: http(csv_body(3))})
    target = "/api/export/" + EXPORT
    answers = http_server.answers
    for path in [path for path in answers if path.startswith(f"{target}/")]:
        del answers[path]
    http_server.answers = FallBack(answers)
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    done = run_command(inner, "downloads", "fetch", EXPORT, "--dir", "kept", "-s", http_server.url, "--retries", "0")
    assert done.code == 6, done.stderr
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(inner / "kept")]
    assert sorted(outside) == sorted([inner.parent, inner])


class FallBack(dict[str, "Answer"]):
    """Whatever the client makes of an id, there is an answer."""

    def get(self, key: str, default: object = None) -> Answer:  # noqa: ARG002
        if key in self:
            return self[key]
        return http(csv_body(3)) if key.endswith("/data") else json({"data": {"id": "a", "rows": 3}})


def endlessly(head: bytes, piece: bytes) -> Answer:
    def answer(_request: Request, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(head)
            while True:
                connection.sendall(piece)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def packed(head: bytes, piece: bytes, times: int) -> Answer:
    """A body of hundreds of megabytes in a few hundred kilobytes, packed when it is asked for."""

    def answer(_request: Request, connection: socket.socket) -> None:
        packer = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
        body = packer.compress(head) + b"".join(packer.compress(piece) for _ in range(times)) + packer.flush()
        with suppress(OSError):
            connection.sendall(http(body, Content_Encoding="gzip"))

    return answer


HOSTILE: dict[str, tuple[str, Answer]] = {
    "packed rows": ("data", packed(HEADER, ROW * 1000, times=5000)),
    "a packed line": ("data", packed(HEADER, b"x" * (1 << 20), times=200)),
    "packed JSON": ("json", packed(b"", b"[" * (1 << 20), times=200)),
    "endless headers": ("data", endlessly(HEAD, b"X-More: and more\r\n" * 1000)),
    "an endless header": ("json", endlessly(HEAD + b"X-More: ", b"x" * 10000)),
    "endless JSON": ("json", endlessly(HEAD + b"\r\n[", b"1," * 50000)),
    "an endless line": ("data", endlessly(HEAD + b"\r\n" + HEADER, b"x" * 100000)),
    "an endless quoted field": ("data", endlessly(HEAD + b"\r\n" + HEADER + b'"', b"\n" * 100000)),
    "an endless header line": ("data", endlessly(HEAD + b"\r\n", b"x," * 50000)),
}


@pytest.mark.gate
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize(
    "hostile", by_default(HOSTILE, "packed rows", "packed JSON", "endless headers", "endless JSON", "an endless line")
)
def test_what_has_no_end_is_given_up_in_bounded_memory_and_time(
    http_server: ScriptedServer, tmp_path: Path, hostile: tuple[str, Answer]
) -> None:
    where, answer = hostile
    http_server.has(EXPORT, {"a": answer})
    if where == "json":
        http_server.answers[f"/api/export/{EXPORT}"] = answer
    program = (sys.executable, "-c", MEASURED)
    started = time.monotonic()
    done = run_command(
        tmp_path, "count", EXPORT, "-s", http_server.url, "--retries", "1", "--timeout", "5", program=program
    )
    assert done.code == 6, done.stderr
    assert time.monotonic() - started < WAIT_SECONDS
    peak = int(done.stderr.rpartition("peak ")[2]) / 1000
    assert peak < PEAK_MB + (64 if where == "json" else 0)  # JSON may be as large as 64 MiB
