"""Nodes: real `mockexport serve` processes over one table and one journal, to be killed, paused and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from tests.cli.conftest import COMMAND, environment
from tests.heartrate.postgres.clusters import WITH_US, free_port
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HEALTHY_SECONDS = 90  # a node may have to wait until another one's lock is free, and then for a turn on a busy machine


@dataclass
class Node:
    """One node, running or not, at one address for all of its life. `inside` runs a command in a network of its own."""

    name: str
    arguments: Sequence[str]
    log: Path
    address: str = "127.0.0.1"
    inside: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)  # of its environment
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    paused: bool = False

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def start(self) -> None:
        """Start it, and don't wait."""
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*self.inside, *WITH_US, COMMAND, "serve"),
                    *("--host", self.address, "--port", str(self.port), "--insecure", *self.arguments),
                ],
                env=environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process, self.paused = None, False

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process:
            self.process.terminate()
            self.process.wait(HEALTHY_SECONDS)
        self.process = None

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status and the document of /health; 0 if there is no answer."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.url}/health", timeout=WAIT_SECONDS, trust_env=False)
            return answer.status_code, answer.json()
        return 0, {}

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            status, document = self.health()
            if status == 200:
                return
            assert self.process
            assert self.process.poll() is None, f"{self.name} has ended:\n{self.told()}"
            assert time.monotonic() < deadline, f"{self.name} is not well: {status} {document}\n{self.told()}"
            time.sleep(0.1)

    def leads(self) -> bool:
        """Tell whether it says that it writes the table."""
        return self.process is not None and not self.paused and self.health()[1].get("role") == "leader"

    def told(self) -> str:
        """The end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:] if self.log.exists() else ""


def three_nodes(folder: Path, journal: str, data: str | None = None, **settings: str) -> list[Node]:
    """Return three nodes over one journal, and over one table, in the folder or at a URL. They aren't started."""
    arguments = ["--data", data or str(folder / "data"), "--journal", journal]
    return [Node(name, arguments, folder / f"{name}.log", settings=settings) for name in ("n1", "n2", "n3")]


@contextmanager
def running(nodes: list[Node]) -> Iterator[list[Node]]:
    """Start all nodes, and wait until they are well. Whatever runs of them is killed at the end."""
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_until_healthy()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def leader_of(nodes: Sequence[Node]) -> Node:
    """Return the node that writes the table; wait until there is one."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not (found := next((node for node in nodes if node.leads()), None)):
        assert time.monotonic() < deadline, "no node leads: " + str([node.health() for node in nodes])
        time.sleep(0.1)
    return found
