"""What runs on a worker."""

from __future__ import annotations

import pickle
import socket
import time
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed

from mockexport._version import __version__
from mockexport.errors import UsageError
from mockexport.pipeline.progress import Cancelled, ProgressCounters, TaskProgress
from mockexport.settings import Settings

if TYPE_CHECKING:
    from mockexport.source import Source

__all__ = ["TOPIC", "check_version", "exports_seen", "is_elsewhere", "run_on_worker", "this_network"]

TOPIC = "mockexport"  # of the events in which tasks tell how far they are; one for all runs, since Dask keeps topics
CANCELLED_SECONDS = 0.25  # between two looks whether a task is still wanted
RUNS_KEPT = 8  # whose sources a worker keeps open


def run_on_worker(version: str, run: str, source: bytes, work: bytes, pause: float) -> tuple[Any, list[int]]:
    """Do a task; return its result, and its counters in the end.

    `work` has the pickled function and its task. The worker's own environment says by which kernel it is done.
    """
    if version != __version__:  # a worker that came later than the check
        check_version(f"worker {distributed.get_worker().address}", version)
    function, task = loads(work)
    task = replace(task, spec=task.spec.with_kernel(Settings.from_environment().kernel))
    counters = ProgressCounters(1)
    progress = _WorkerProgress(run, task.number, counters, pause)
    try:
        result = function(source_of_run(run, source), task, progress)
    except Cancelled:
        raise distributed.Reschedule from None  # nobody waits for this, unless the task is wanted again meanwhile
    return result, counters.of_task(0)


@lru_cache(maxsize=RUNS_KEPT)
def source_of_run(_run: str, source: bytes) -> Source:
    """Return the source of a run, which this worker unpickles once, also when it came later than the first task."""
    opened: Source = loads(source)
    return opened


def loads(data: bytes) -> Any:
    """Unpickle what the client sent: a worker runs whatever its client sends, as Dask's own tasks do."""
    return pickle.loads(data)  # noqa: S301


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


def exports_seen(source: bytes) -> list[str]:
    """Return the exports that this worker sees."""
    opened: Source = loads(source)
    with closing(opened):
        return sorted(opened.exports())


class _WorkerProgress(TaskProgress):
    """The progress of a task on this worker: it is reported now and then, and the task ends when it is cancelled."""

    def __init__(self, run: str, number: int, counters: ProgressCounters, pause: float) -> None:
        super().__init__(counters, 0)
        self._run, self._task, self._pause = run, number, pause
        self._worker = distributed.get_worker()
        self._key = self._worker.get_current_task()
        self._next_report = time.monotonic() + pause
        self._next_look = 0.0
        self._has_reported = False

    def restart(self) -> None:
        """Begin, or start over. If no bytes come for a while, the caller is told all the same that the task runs."""
        super().restart()
        loop = self._worker.loop
        loop.add_callback(loop.call_later, self._pause, self._report_first)

    def advance(self, rows: int, size: int) -> None:
        """Tell how far the task is. Raises Cancelled when nobody waits for it any more."""
        super().advance(rows, size)
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + CANCELLED_SECONDS
            self._look()
        if now >= self._next_report:
            self._report()

    def _report_first(self) -> None:
        if not self._has_reported and self._counters.running() and not self.cancel.cancelled:
            self._report()

    def _report(self) -> None:
        self._has_reported = True
        self._next_report = time.monotonic() + self._pause
        self._worker.log_event(TOPIC, (self._run, self._task, self._counters.of_task(0)))

    def _retry(self, wait: float, state: int) -> None:
        super()._retry(wait, state)
        self._look()
        self._report()  # at once: there are no bytes to report during the wait

    def _look(self) -> None:
        state = self._worker.state.tasks.get(self._key)
        if state is None or state.state == "cancelled":
            self.cancel.cancel()
            raise Cancelled
