"""Running a server as a process: its address, its signals, its log, and its extra."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import httpx
import pytest
from tests.server.serving import PLAIN
from tests.server.sources import path_of
from tests.sources import WAIT_SECONDS

from mockexport.errors import UsageError
from mockexport.server.server import GRACE_SECONDS, _url, listen

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
import sys
from mockexport.errors import UntrustedDataError
from mockexport.server import create_app, log_to_stderr, run
from tests.server.sources import FailingSource, StuckSource, WatchedSource

def listening(url):
    print(url, flush=True)

sources = {
    "endless": WatchedSource,
    "stuck": StuckSource,
    "failing": lambda: FailingSource(UntrustedDataError("the file can't be unpacked"), [b"row\\n" * 100_000] * 20),
    "buggy": lambda: FailingSource(ValueError("a bug"), [b"row\\n" * 100_000] * 20),
}
source = sources[sys.argv[1]]()
try:
    with log_to_stderr(access_log="log" in sys.argv):
        run(create_app(source), "127.0.0.1", 0, on_listening=listening)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    source.closed.wait(1)
    print("closed" if source.closed.is_set() else "open", flush=True)
    source.go_on.set() if sys.argv[1] == "stuck" else None
"""
WATCHED = f"{path_of('watched')}/data"


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the script above; what the block gets is the process, and the URL that it told."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started, text_of(started.stdout).readline().strip()
        finally:
            started.kill()


def text_of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def ended(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = started.communicate(timeout=WAIT_SECONDS)
    return started.returncode, out, err


def test_a_free_port_is_picked_and_told_once_it_accepts() -> None:
    with process("endless") as (_, url):
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/health", timeout=WAIT_SECONDS).status_code == 200


@pytest.mark.gate
def test_an_interrupt_reaches_the_caller() -> None:
    with process("endless") as (started, _):
        started.send_signal(signal.SIGINT)
        code, out, err = ended(started)
        assert (code, out.split()[0], err) == (0, "interrupted", "")


@pytest.mark.gate
def test_a_termination_does_what_it_would_do_without_a_server() -> None:
    with process("endless") as (started, _):
        started.send_signal(signal.SIGTERM)
        assert ended(started) == (-signal.SIGTERM, "", "")


@pytest.mark.gate
@pytest.mark.parametrize(
    ("name", "end"), [pytest.param("endless", "closed", marks=pytest.mark.slow), ("stuck", "open")]
)
def test_running_downloads_are_cut_after_a_few_seconds(name: str, end: str) -> None:
    with (
        process(name) as (started, url),
        httpx.stream("GET", url + WATCHED, headers=PLAIN, timeout=WAIT_SECONDS) as answer,
    ):
        assert answer.status_code == 200
        began = time.monotonic()
        started.send_signal(signal.SIGINT)
        code, out, err = ended(started)
        assert time.monotonic() - began < GRACE_SECONDS + 5
        assert (code, out.split()) == (0, ["interrupted", end])
        assert len(err.splitlines()) == 1, "one line says that it was cut, and there is no traceback"


@pytest.mark.gate
def test_a_broken_body_is_one_line_on_stderr() -> None:
    with process("failing") as (started, url):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url + WATCHED, headers=PLAIN, timeout=WAIT_SECONDS)
        started.send_signal(signal.SIGTERM)
        _, _, err = ended(started)
        (line,) = err.splitlines()
        assert line.endswith("aborted download watched of trial: the file can't be unpacked")


@pytest.mark.gate
def test_a_bug_of_a_source_shows_where_it_is() -> None:
    with process("buggy") as (started, url):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url + WATCHED, headers=PLAIN, timeout=WAIT_SECONDS)
        started.send_signal(signal.SIGTERM)
        _, _, err = ended(started)
        assert "ValueError: a bug" in err


@pytest.mark.gate
@pytest.mark.parametrize("log", [True, False])
def test_requests_are_logged_on_stderr_if_wanted(log: bool) -> None:
    with process("endless", *(["log"] if log else [])) as (started, url):
        httpx.get(f"{url}/health", timeout=WAIT_SECONDS)
        started.send_signal(signal.SIGTERM)
        _, out, err = ended(started)
        assert ('"GET /health HTTP/1.1" 200' in err) == log
        assert out == ""


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f":{port}: the port is in use; choose another one"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["198.51.100.1", "nowhere.invalid", "a" * 100, "\udcff", "::ffff:0:0:0:0:0:1:2:3"])
def test_an_unusable_host_is_an_error_that_names_it(host: str) -> None:
    with pytest.raises(UsageError, match="not an address of this machine; use") as error:
        listen(host, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("port", [65536, -1])
def test_a_port_out_of_range_is_an_error(port: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 65535"):
        listen("127.0.0.1", port)


def test_short_answers_are_sent_at_once() -> None:
    """asyncio turns Nagle's algorithm off for sockets that name their protocol, and for these alone."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_localhost_is_the_address_that_every_client_tries() -> None:
    with listen("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_the_url_of_an_ipv6_address_has_it_in_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except UsageError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert _url(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    script = """
import sys
sys.modules["fastapi"] = None
from mockexport.errors import UsageError
try:
    import mockexport.server
except UsageError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert run.stdout == "serving needs an extra; pip install 'mockexport[server]'\n"
