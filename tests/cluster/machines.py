"""A Dask cluster of real processes, started by Dask's own commands and ended by their ids."""

from __future__ import annotations

import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson
from tests.cli.conftest import environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ROOT = Path(__file__).parent.parent.parent
DASK = str(Path(sysconfig.get_path("scripts")) / "dask")
WHILE_IDLE = {  # or each process, idle, takes 4 % of a processor
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}
WAIT_SECONDS = 60  # for a process to be there; Dask takes some seconds to load on a busy machine


@dataclass
class Cluster:
    """A scheduler and its workers, on loopback; it lasts as long as the block. What they say goes to the folder.

    `program` is what the commands begin with, by the name of the process: `ip netns exec` for a host of its own.
    """

    folder: Path
    host: str = "127.0.0.1"
    program: Callable[[str], tuple[str, ...]] = lambda _name: ()
    settings: dict[str, str] = field(default_factory=dict)
    address: str = ""
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    scheduler: subprocess.Popen[bytes] = field(init=False)
    started: int = 0

    def __enter__(self) -> Self:
        file = self.folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", {}, "scheduler", "--host", self.host, "--port", "0", "--scheduler-file", str(file)
        )
        self._wait(self.scheduler, lambda: file.exists() and file.read_bytes().rstrip().endswith(b"}"))
        self.address = orjson.loads(file.read_bytes())["address"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
        for process in (*self.workers.values(), self.scheduler):
            process.wait()

    def with_workers(self, count: int) -> Self:
        """Start what is missing of so many workers, of one thread each."""
        self.workers = {name: process for name, process in self.workers.items() if process.poll() is None}
        new = [self.start_worker() for _ in range(count - len(self.workers))]
        for name in new:
            self.wait_for(name)
        return self

    def start_worker(self, **changes: str) -> str:
        """Start a worker with one thread and this change of environment; return its name."""
        self.started += 1
        name = f"w{self.started}"
        self.workers[name] = self._start(
            name, changes, "worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny"
        )
        return name

    def wait_for(self, name: str) -> None:
        """Wait until the scheduler knows a worker."""
        self._wait(self.workers[name], lambda: "Registered to" in self.said(name))

    def end_worker(self, name: str) -> None:
        """Kill a worker, at once."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def said(self, name: str) -> str:
        """What a process wrote to stderr."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def _start(self, name: str, changes: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        everywhere = {
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
            **WHILE_IDLE,
            **self.settings,
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*self.program(name), DASK, *arguments, "--dashboard-address", ":0"],
                cwd=self.folder,
                env=environment(**{**everywhere, **changes}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def _wait(self, process: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)


COMMITTED = ROOT / "outputs"
