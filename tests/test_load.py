"""Many clients at a time, half of whom go away in the middle: the server keeps nothing of them."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.commands import Serving, serve_command
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gate

CLIENTS = 64
READ_BYTES = 1 << 19  # that each of them takes, before it goes away or on
WAVES = 10
MORE_MB = 5  # that a wave of as many clients may leave behind, in one wave of all those; all of them need more
IDLE_THREADS = 1 + 16 + 40 + 4  # the event loop, the workers of the bodies, those of the routes, and some to spare
STARTS = 1

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory and threads of a process are read from /proc"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serve_command() as server:
        yield server


@pytest.fixture(scope="module")
def paths(server: Serving) -> list[str]:
    ids = httpx.get(f"{server.url}/api/export/small", timeout=WAIT_SECONDS).json()["data"]["download_ids"]
    return [f"/api/export/small/{name}/data" for name in ids]


def status(server: Serving, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def healthy(server: Serving) -> float:
    """See that it is well, and return how long it took to say so."""
    started = time.monotonic()
    assert httpx.get(f"{server.url}/health", timeout=WAIT_SECONDS).json() == {"status": "healthy"}
    return time.monotonic() - started


def take(server: Serving, path: str, *, stays: bool) -> int:
    """Read some of a body, and go away in the middle or have the rest of a range."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as client:
        wanted = f"Range: bytes=0-{READ_BYTES - 1}\r\nConnection: close\r\n" if stays else ""
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{wanted}\r\n".encode())
        taken = 0
        while (chunk := client.recv(1 << 16)) and (stays or taken < READ_BYTES):
            taken += len(chunk)
        return taken


def wave(server: Serving, paths: list[str]) -> list[float]:
    """Have all the clients at a time; return how long the server took to tell its health meanwhile."""
    waits = []
    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [
            clients.submit(take, server, paths[number % len(paths)], stays=number % 2 == 0) for number in range(CLIENTS)
        ]
        while not all(one.done() for one in running):
            waits.append(healthy(server))
        assert all(one.result() >= READ_BYTES for one in running)
    return waits


@needs_proc
def test_after_many_clients_it_answers_as_before_and_keeps_neither_memory_nor_threads(
    server: Serving, paths: list[str], eventually: Callable[[Callable[[], object]], None]
) -> None:
    """Memory grows with the first waves, as far as one needs, and then no further; with a leak it always would."""
    waits, memory = wave(server, paths), [status(server, "VmRSS")]
    while len(memory) < 2 or memory[-1] > max(memory[:-1]) + MORE_MB * 1000:
        assert len(memory) < WAVES, memory
        waits += wave(server, paths)
        eventually(lambda: status(server, "Threads") <= IDLE_THREADS)
        memory.append(status(server, "VmRSS"))
    assert max(waits, default=0.0) < WAIT_SECONDS / 2  # nobody waits for those who take their time
    healthy(server)


@needs_proc
def test_who_goes_away_is_let_go_of_at_once(
    server: Serving, paths: list[str], eventually: Callable[[Callable[[], object]], None]
) -> None:
    def connections() -> int:
        found = 0
        for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found += str(file.readlink()).startswith("socket:")
        return found

    def idle(seconds: float) -> bool:
        before = ticks(server)
        time.sleep(seconds)
        return ticks(server) - before < seconds * 100 / 4

    eventually(lambda: idle(0.1))
    before = connections()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda number: take(server, paths[number % 10], stays=False), range(CLIENTS)))
    eventually(lambda: connections() <= before)
    eventually(lambda: idle(0.2))  # and no worker goes on making rows for nobody


def ticks(server: Serving) -> int:
    """The hundredths of a second that its threads have worked."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow if n >= STARTS else ()) for n in range(60)])
def test_a_server_that_has_just_started_answers_whatever_comes_at_once(number: int) -> None:
    """Some ask for metadata and some for bodies, and nobody waits long."""
    with serve_command() as server, httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        together = threading.Barrier(8)

        def ask(path: str) -> int:
            together.wait(WAIT_SECONDS)
            with httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as one:
                return [one.get(path).status_code, one.head(path).status_code][number % 2]

        asked = ["/api/export", "/api/export/demo", "/api/export/small", "/health"] * 2
        with ThreadPoolExecutor(len(asked)) as clients:
            assert set(clients.map(ask, asked)) == {200}
        ids = client.get("/api/export/small").json()["data"]["download_ids"]
        with ThreadPoolExecutor(8) as clients:
            answers = clients.map(lambda name: client.get(f"/api/export/small/{name}").status_code, ids * 3)
            assert set(answers) == {200}
