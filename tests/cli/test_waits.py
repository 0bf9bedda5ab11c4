"""Waits: what the command says while it waits, and what it says and keeps when Ctrl-C ends it."""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.cli.conftest import COMMAND
from tests.commands import serve_command
from tests.scripted_http import Answer, Request, ScriptedServer, http, json
from tests.sources import WAIT_SECONDS, csv_body
from tests.terminals import OnTerminal

if TYPE_CHECKING:
    import socket
    from pathlib import Path

pytestmark = pytest.mark.gate

ROWS = 4000
BODY = csv_body(ROWS)
HALF = len(BODY) // 2
ETAG = '"x"'
IN_THREADS = {"MOCKEXPORT_KERNEL": "auto"}
IN_PROCESSES = {"MOCKEXPORT_KERNEL": "pure"}
BOTH = [IN_THREADS, IN_PROCESSES]


def head() -> bytes:
    """The answer to HEAD: a strong ETag and a length."""
    return b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(BODY)


def rest(request: Request) -> tuple[bytes, bytes]:
    """The head and the bytes of the answer to a request, for all of the body or from a byte on."""
    begin = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    status = b"200 OK" if begin == 0 else b"206 Partial Content"
    fields = b'ETag: "x"\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\nConnection: close\r\n\r\n'
    numbers = (len(BODY) - begin, begin, len(BODY) - 1, len(BODY))
    return b"HTTP/1.1 " + status + b"\r\n" + fields % numbers, BODY[begin:]


def has_downloads(server: ScriptedServer, **answers: Answer) -> None:
    """Have an export whose downloads declare their rows, and have strong ETags."""
    server.has("trial", answers, dict.fromkeys(answers, ROWS))
    server.heads |= {f"/api/export/trial/{name}/data": head() for name in answers}


def whole(request: Request, connection: socket.socket) -> None:
    connection.sendall(b"".join(rest(request)))


class Half:
    """Sends half of a body, then nothing until the test is over; from then on, what is asked for."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self.over = False

    def __call__(self, request: Request, connection: socket.socket) -> None:
        if self.over:
            whole(request, connection)
            return
        fields, body = rest(request)
        connection.sendall(fields + body[:HALF])
        self._server.released.wait(WAIT_SECONDS)


# ---- On a terminal ----


def test_while_downloads_are_listed_the_line_says_how_many_there_are(
    http_server: ScriptedServer, workplace: Path
) -> None:
    shown = threading.Event()

    def answer(_request: Request, connection: socket.socket) -> None:
        assert shown.wait(WAIT_SECONDS)
        connection.sendall(json({"data": {"id": "b", "rows": ROWS}}))

    has_downloads(http_server, a=whole, b=whole)
    http_server.answers["/api/export/trial/b"] = answer
    with OnTerminal([COMMAND, "count", "trial", "-s", http_server.url], workplace) as terminal:
        terminal.wait_for(f"asking {http_server.url} for its downloads, 1 of 2")
        shown.set()
        assert terminal.end() == 0


@pytest.mark.parametrize(
    "line", ["exports list", "downloads list trial", "count trial", "downloads fetch trial --dir d"]
)
def test_a_source_that_does_not_answer_is_told_of(line: str, http_server: ScriptedServer, workplace: Path) -> None:
    shown = threading.Event()

    def answer(_request: Request, connection: socket.socket) -> None:
        assert shown.wait(WAIT_SECONDS)
        connection.sendall(http(status=404))

    http_server.answers |= dict.fromkeys(("/api/export", "/api/export/trial"), answer)
    with OnTerminal([COMMAND, *line.split(), "-s", http_server.url], workplace) as terminal:
        terminal.wait_for(f"asking {http_server.url} for its")
        shown.set()
        assert terminal.end() == 3


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("kernel", BOTH)
def test_a_download_says_what_it_waits_for_in_lines_that_do_not_wrap(
    kernel: dict[str, str], width: int, http_server: ScriptedServer, workplace: Path
) -> None:
    cut, resumed = threading.Event(), threading.Event()
    requests: list[Request] = []

    def answer(request: Request, connection: socket.socket) -> None:
        requests.append(request)
        fields, body = rest(request)
        if len(requests) == 1:
            connection.sendall(fields + body[:HALF])
            assert cut.wait(WAIT_SECONDS)
        elif len(requests) == 2:
            connection.sendall(http(status=503, Retry_After="2"))
        else:
            connection.sendall(fields + body[:100])
            assert resumed.wait(WAIT_SECONDS)
            connection.sendall(body[100:])

    has_downloads(http_server, a=answer, b=whole)
    command = [COMMAND, "count", "trial", "-s", http_server.url, "-j", "2"]
    with OnTerminal(command, workplace, kernel, width=width) as terminal:
        terminal.wait_for("no data for 2 s of 30 s")
        cut.set()
        terminal.wait_for("server busy, next try in 2 s")
        terminal.wait_for(f"resumed at {HALF / 1000:.1f} kB")
        resumed.set()
        assert terminal.end() == 0
    drawn = [line for line in terminal.lines() if "trial " in line or "  a " in line]
    assert drawn
    assert max(map(len, drawn)) <= width - 3


@pytest.mark.parametrize("kernel", BOTH)
def test_a_line_of_the_log_is_one_line_without_colours_above_whole_bars(
    kernel: dict[str, str], http_server: ScriptedServer, workplace: Path
) -> None:
    shown, requests = threading.Event(), 0

    def answer(request: Request, connection: socket.socket) -> None:
        nonlocal requests
        requests += 1
        if requests == 1:
            fields, body = rest(request)
            connection.sendall(fields + body[:HALF])
            assert shown.wait(WAIT_SECONDS)
        elif requests < 5:
            connection.sendall(http(status=503, Retry_After="0"))
        else:
            whole(request, connection)

    name = "a-download-with-a-name-so-long-that-a-line-with-it-is-wider-than-the-terminal-1234567890"
    answers: dict[str, Answer] = {name: answer, "b": Half(http_server)}
    has_downloads(http_server, **answers)
    command = [COMMAND, "count", "trial", "-s", http_server.url, "-v", "-j", "2"]
    with OnTerminal(command, workplace, kernel) as terminal:
        terminal.wait_for("  b ")
        shown.set()
        terminal.wait_for("75%")
        os.killpg(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 130
    start = f"mockexport: {http_server.url}/api/export/trial/{name}/data"
    told = [line for line in re.split(r"\r\n|\x1b\[2K", terminal.shown) if start in line]
    assert len(told) >= 4
    assert not [line for line in told if not line.startswith(start) or "\x1b" in line], told
    drawn = [line for line in terminal.lines() if "━" in line or "──" in line]
    assert not [line for line in drawn if not line.startswith(("trial ", "  b ", f"  {name[:10]}"))], drawn


def test_elsewhere_progress_is_lines_without_control_characters(http_server: ScriptedServer, start: Any) -> None:
    has_downloads(http_server, a=Half(http_server))
    process = start("count", "trial", "-s", http_server.url, "--progress")
    lines = iter(process.stderr.readline, "")
    line = next(line for line in lines if "trial: 50%" in line)
    assert line.rstrip("\n").isprintable()


# ---- Ctrl-C ----


def test_ctrl_c_is_the_usual_end_of_a_server() -> None:
    with serve_command() as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(WAIT_SECONDS) == 0
    assert server.told[1:] == ["mockexport: stopped\n"]


def test_ctrl_c_prints_what_was_acknowledged_of_what_was_sent(start: Any, command: Any, tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    with serve_command("--data", tmp_path / "readings") as server:
        process = start(
            "heartrate", "send", "-s", server.url, "--rate", "500", "--burst", "50", "--batch", "50",
            "--seconds", "600", "--progress",
        )  # fmt: skip
        lines = iter(process.stderr.readline, "")
        assert any("readings/s" in line and ", 0 readings," not in line for line in lines)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=WAIT_SECONDS)
        summary = orjson.loads(stdout)
        assert process.returncode == 130
        assert stderr.splitlines()[-1] == "mockexport: error: interrupted"
        assert summary["accepted"] == summary["sent"] > 0
        counted = orjson.loads(command("count", "heart_rate", "-s", server.url).stdout)["totals"]["heart_rate"]
        assert summary["distinct"] <= counted <= summary["distinct"] + 4 * 50  # posts that were on their way


def said_after_ctrl_c(terminal: OnTerminal) -> list[str]:
    """What the command says at its end, below its progress."""
    os.killpg(terminal.process.pid, signal.SIGINT)  # workers get it, too, as from a terminal
    assert terminal.end() == 130
    return [line for line in terminal.lines() if line.startswith("mockexport: ")]


@pytest.mark.parametrize("finished", [0, 1])
def test_ctrl_c_says_what_a_checkpoint_would_have_saved(
    finished: int, http_server: ScriptedServer, workplace: Path
) -> None:
    has_downloads(http_server, half=Half(http_server), **dict.fromkeys(["a"][:finished], whole))
    with OnTerminal([COMMAND, "count", "trial", "-s", http_server.url, "-j", "2"], workplace, width=200) as terminal:
        terminal.wait_for("75%" if finished else "50%")
        terminal.wait_for("  half ")  # it comes later than the other one's end, which may come later than its rows
        said = said_after_ctrl_c(terminal)
    hint = "mockexport: --checkpoint FILE would have saved the counts of 1 finished downloads, to resume from"
    assert said == [*[hint][:finished], "mockexport: error: interrupted"]


@pytest.mark.parametrize("kernel", BOTH)
def test_ctrl_c_keeps_what_was_fetched_to_the_last_byte_and_says_so(
    kernel: dict[str, str], http_server: ScriptedServer, workplace: Path, eventually: Any
) -> None:
    half = Half(http_server)
    has_downloads(http_server, half=half, a=whole)
    command = [COMMAND, "downloads", "fetch", "trial", "-s", http_server.url, "--dir", "kept", "-j", "2"]
    with OnTerminal(command, workplace, kernel, width=200) as terminal:
        terminal.wait_for("75%")
        manifest = workplace / "kept" / "trial" / "manifest.json"
        eventually(lambda: any(entry["sha256"] for entry in orjson.loads(manifest.read_bytes())["downloads"]))
        said = said_after_ctrl_c(terminal)
    kept = f"1 of 2 downloads and {HALF / 1000:.1f} kB of the others are kept in kept/trial"
    assert said == [f"mockexport: {kept}; run the same command again to resume", "mockexport: error: interrupted"]
    half.over = True
    with OnTerminal(command, workplace, kernel) as terminal:
        assert terminal.end() == 0
    assert http_server.requests[-1].headers["range"] == f"bytes={HALF}-"
    assert (workplace / "kept" / "trial" / "half.csv").read_bytes() == BODY


def test_ctrl_c_says_that_nothing_is_kept_of_a_source_without_strong_etags(
    http_server: ScriptedServer, workplace: Path
) -> None:
    http_server.has("trial", {"a": http_server.stall_after(http(BODY)[:HALF])}, {"a": ROWS})
    command = [COMMAND, "downloads", "fetch", "trial", "-s", http_server.url, "--dir", "kept"]
    with OnTerminal(command, workplace) as terminal:
        terminal.wait_for("50%")
        assert said_after_ctrl_c(terminal) == [
            "mockexport: kept/trial keeps nothing that the same command could resume from",
            "mockexport: error: interrupted",
        ]
