"""What runs on a worker."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import distributed

from mockexport._version import __version__
from mockexport.errors import UsageError
from mockexport.pipeline.dask.serialize import loads, own_twins
from mockexport.pipeline.executors import Board, Cancelled

__all__ = ["TOPIC", "check_version", "is_elsewhere", "look", "run_here", "this_network"]

TOPIC = "mockexport"  # of the events in which tasks tell how far they are; one for all runs, since Dask keeps topics
CANCELLED_SECONDS = 0.25  # between two looks whether a task is still wanted


def run_here(version: str, source: bytes, task: bytes, run: str, number: int, pause: float) -> tuple[Any, list[int]]:
    """Run a task; return its result, and what its board says of it in the end."""
    if version != __version__:  # a worker that came later than the check
        check_version(f"worker {distributed.get_worker().address}", version)
    twins = own_twins()
    with closing(loads(source, twins)) as opened:
        board = _WorkerBoard(run, number, pause)
        try:
            result = loads(task, {**twins, "source": opened, "board": board})(board, 0)
        except Cancelled:
            raise distributed.Reschedule from None  # nobody hears this, unless the task is wanted again meanwhile
    return result, board.numbers(0)


def check_version(who: str, version: object) -> None:
    """Raise UsageError for whoever has another version of mockexport, or none."""
    if version != __version__:
        has = f"mockexport {version}" if isinstance(version, str) else "no mockexport"
        raise UsageError(f"{who} has {has}, this machine {__version__}; the whole cluster must have the same version")


def this_network() -> str:
    """Name the network stack that this process is on: where it is the same, localhost is the same."""
    try:  # Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').readlink()}"
    except OSError:
        return socket.gethostname()


def is_elsewhere(network: str) -> bool:
    """Tell whether this worker is on another network stack."""
    return network != this_network()


def look(source: bytes) -> list[str]:
    """Return the exports that this worker sees."""
    with closing(loads(source, own_twins())) as opened:
        return sorted(opened.exports())


class _WorkerBoard(Board):
    """A worker's side, of one task, number 0: it says now and then how far it is, and looks whether it is wanted."""

    def __init__(self, run: str, number: int, pause: float) -> None:
        super().__init__([0] * Board.size(1))
        self._run, self._number, self._pause = run, number, pause
        self._worker = distributed.get_worker()
        self._key = self._worker.get_current_task()
        self._next_report = time.monotonic() + pause
        self._next_look = 0.0

    def advance(self, task: int, rows: int, size: int) -> None:
        """Say how far the task is. Raises Cancelled when nobody waits for it any more."""
        super().advance(task, rows, size)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + CANCELLED_SECONDS
            self._look()
        if now >= self._next_report:
            self._next_report = now + self._pause
            self._worker.log_event(TOPIC, (self._run, self._number, self.numbers(task)))

    def try_again(self, task: int) -> None:
        """Say that something had to be tried again. Raises Cancelled when nobody waits for the task any more."""
        super().try_again(task)
        self._look()

    def _look(self) -> None:
        state = self._worker.state.tasks.get(self._key)
        if state is None or state.state == "cancelled":
            raise Cancelled
