"""Workers on many machines: a Dask cluster as one more `concurrent.futures.Executor`, with its Board.

Dask schedules, queues, and does a dead worker's tasks again elsewhere. What is here: whether the workers will do is
asked before any work; a task travels small, for what a worker has of its own (its twins, the source it opens, its
board) is only named; a task that nobody wants any more ends; and what goes wrong becomes our own errors.
"""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import pydoc
import socket
import time
import uuid
import warnings
from array import array
from concurrent.futures import CancelledError, Executor, Future
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from mockexport._version import __version__
from mockexport.catalog import Download
from mockexport.errors import MockExportError, UnreachableError, UntrustedDataError, UsageError
from mockexport.kernels import choose_kernels
from mockexport.settings import Settings
from mockexport.workers import Board, Cancelled

try:
    import distributed
    from distributed.comm.addressing import get_address_host_port
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker
except ImportError as missing:
    raise UsageError("--scheduler needs an extra; pip install 'mockexport[cluster]'") from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping

    from mockexport.source import Source

__all__ = ["ClusterExecutor", "cluster_workers"]

T = TypeVar("T")
log = logging.getLogger(__name__)
TOPIC = "mockexport"  # of the events in which tasks tell how far they are; one for all runs, since Dask keeps topics
REPORTS_A_SECOND = 500  # from all workers together
REPORT_SECONDS = 0.5  # between two of one task, at the least
CANCELLED_SECONDS = 0.25  # between two looks whether a task is still wanted
WATCH_SECONDS = 2.0  # between two looks at the scheduler
GONE = (CommClosedError, OSError, TimeoutError)  # what a worker answers that has ended meanwhile
NOISY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")


# ---- On the user's machine ----


@contextmanager
def cluster_workers(
    tasks: int, *, scheduler: str, source: Source, timeout: float = 30.0
) -> Generator[tuple[Executor, Board], None, None]:
    """Run tasks on the workers of the Dask scheduler at an address such as `tcp://host:8786`.

    `source` is what the tasks read; each worker must see it as we do. `timeout`, in seconds, bounds the wait for the
    scheduler, for its first worker, and later for a sign of life.

    Raises UnreachableError for a scheduler or workers that aren't there, or not any more; UsageError for an address
    that is none, and for workers without this version of mockexport; and what a worker that can't see the source says.
    """
    with _connected(scheduler, timeout) as client:
        threads = _check(client, scheduler, source, timeout)
        board = _CallerBoard(tasks, max(REPORT_SECONDS, threads / REPORTS_A_SECOND))
        client.subscribe_topic(TOPIC, board.hear)
        executor = ClusterExecutor(client, scheduler, source, board, timeout)
        try:
            yield executor, board
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _connected(scheduler: str, timeout: float) -> Generator[distributed.Client, None, None]:
    """Connect to a scheduler; what Dask would print goes to our own log."""
    with warnings.catch_warnings(), _quiet():
        warnings.filterwarnings("ignore", module=r"distributed\b")  # other versions of Dask or Python, which may do
        _check_address(scheduler)
        try:
            client = distributed.Client(scheduler, timeout=timeout, set_as_default=False)
        except (OSError, ImportError) as error:  # a TimeoutError is an OSError; ImportError: of another age
            raise UnreachableError(
                f"no Dask scheduler answers at {scheduler} within {timeout:g} s: {_first_line(error)}"
            ) from error
        try:
            yield client
        finally:
            with suppress(OSError, RuntimeError):  # of a scheduler that is gone
                client.close(timeout=timeout)


def _check_address(scheduler: str) -> None:
    try:
        get_address_host_port(scheduler)
        certificates = distributed.Security().get_connection_args("client").get("ssl_context")
    except ValueError as error:
        raise UsageError(f"--scheduler {scheduler!r} is no address: {error}; it looks like tcp://host:8786") from error
    except OSError as error:
        raise UsageError(f"the certificates that Dask's configuration names can't be read: {error}") from error
    if scheduler.startswith("tls://") and not certificates:
        raise UsageError(f"{scheduler} needs certificates; Dask's configuration names them: distributed.comm.tls")


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Take what Dask logs for details of our own."""
    loggers = [logging.getLogger(name) for name in NOISY]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [_Detail()], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


class _Detail(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.info("dask: %s", _first_line(record.getMessage()))


def _first_line(problem: object) -> str:
    return str(problem).partition("\n")[0]


def _check(client: distributed.Client, scheduler: str, source: Source, timeout: float) -> int:
    """Refuse workers that can't do the work; return how many threads they have."""
    try:
        client.wait_for_workers(1, timeout)
    except TimeoutError as error:
        raise UnreachableError(f"the scheduler {scheduler} has no workers; start some, or give --timeout") from error
    on_scheduler = _ask(client.run_on_scheduler, client, timeout, pydoc.locate, "mockexport.__version__")
    _check_version(f"the scheduler {scheduler}", on_scheduler)
    # By a function that each worker has, whatever it lacks of ours.
    for worker, version in _ask_workers(client, timeout, pydoc.locate, "mockexport.__version__").items():
        _check_version(f"worker {worker}", version)
    if _is_own(source.name):
        for worker, elsewhere in _ask_workers(client, timeout, is_elsewhere, this_network()).items():
            if elsewhere:
                raise UsageError(
                    f"worker {worker} is elsewhere, where {source.name} is another server or none; "
                    "name the source by an address that means the same on all machines"
                )
    here = sorted(source.exports())
    for worker, seen in _ask_workers(client, 2 * timeout, look, _dumps(source, _twins())).items():
        if isinstance(seen, Exception):
            kind = type(seen) if isinstance(seen, MockExportError) else UnreachableError
            raise kind(f"worker {worker} can't see the source: {_first_line(seen)}") from seen
        if seen != here:
            raise UntrustedDataError(
                f"worker {worker} sees another source {source.name}, with the exports {', '.join(seen) or 'none'}; "
                "it must be the same one on all machines"
            )
    return int(client.scheduler_info(n_workers=0)["total_threads"])


def _ask_workers(
    client: distributed.Client, timeout: float, function: Callable[..., Any], *arguments: Any
) -> dict[str, Any]:
    """Run a function on each worker; one that ends meanwhile is left out."""

    def run() -> Any:
        return client.run(function, *arguments, on_error="return")

    answers: dict[str, Any] = _ask(run, client, timeout)
    return {worker: answer for worker, answer in sorted(answers.items()) if type(answer) not in GONE}


def _ask(ask: Callable[..., Any], client: distributed.Client, timeout: float, *arguments: Any) -> Any:
    try:
        return client.sync(ask, *arguments, callback_timeout=timeout)
    except (TimeoutError, CommClosedError) as error:
        raise UnreachableError(f"the cluster does not answer within {timeout:g} s: {_first_line(error)}") from error


def _check_version(who: str, version: object) -> None:
    if version != __version__:
        has = f"mockexport {version}" if isinstance(version, str) else "no mockexport"
        raise UsageError(f"{who} has {has}, this machine {__version__}; the whole cluster must have the same version")


def _is_own(name: str) -> bool:
    """Tell whether a source is named as each machine names itself."""
    host = urlsplit(name).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _CallerBoard(Board):
    """The caller's side: it hears from the workers, at least `pause` seconds after their last word on a task."""

    def __init__(self, tasks: int, pause: float) -> None:
        super().__init__(array("Q", bytes(8 * Board.size(tasks))))
        self.run = uuid.uuid4().hex
        self.pause = pause

    def hear(self, event: tuple[float, tuple[str, int, list[int]]]) -> None:
        """Take what a task of this run says on its way."""
        _, (run, task, numbers) = event
        if run == self.run and not self.has_ended(task):
            self.put(task, numbers)


class ClusterExecutor(Executor):
    """Submits tasks to a cluster, through a client that is connected to it."""

    def __init__(
        self, client: distributed.Client, scheduler: str, source: Source, board: _CallerBoard, timeout: float
    ) -> None:
        self._client = client
        loop: Any = client.loop
        self._loop: asyncio.AbstractEventLoop = loop.asyncio_loop
        self._scheduler = scheduler
        self._board = board
        self._timeout = timeout
        self._names = {**_twins(), id(source): "source", id(board): "board"}
        self._source = _dumps(source, self._names.copy() | {id(source): None})
        self._running: set[asyncio.Task[Any]] = set()
        self._lost: UnreachableError | None = None
        self._watching = self._start(self._watch())

    def submit(self, task: Callable[..., T], /, _board: Board, number: int) -> Future[T]:  # type: ignore[override]
        """Run `task(board, number)` on a worker, with a board of its own."""
        remote = self._client.submit(
            run_here,
            __version__, self._source, _dumps(task, self._names), self._board.run, number, self._board.pause,
            key=("mockexport-" + self._board.run, uuid.uuid4().hex),
            pure=False,
        )  # fmt: skip
        return self._start(self._result(remote, number))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what runs; `wait` and `cancel_futures` are as if they were not and were said."""
        self._watching.cancel()
        self._loop.call_soon_threadsafe(self._cancel)

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def _result(self, remote: distributed.Future[Any], number: int) -> Any:
        """Wait for a result; when it is not wanted any more, letting go of it cancels the work."""
        waiting: Any = asyncio.current_task()
        self._running.add(waiting)
        try:
            if self._lost:
                raise self._lost
            result, numbers = await remote
        except asyncio.CancelledError:
            if self._lost:
                raise self._lost from None
            raise
        except KilledWorker as error:
            raise UnreachableError(
                f"{error.allowed_failures + 1} workers died at the same part, the last one "
                f"{error.last_worker.address}; their memory may be short"
            ) from error
        except (CancelledError, OSError) as error:
            raise self._stopped(getattr(error, "reason", None) or _first_line(error)) from error
        except ModuleNotFoundError as error:
            raise UsageError(f"a new worker lacks a part of mockexport {__version__}: {error}") from error
        finally:
            self._running.discard(waiting)
            remote.release()
        self._board.put(number, numbers)
        return result

    def _stopped(self, how: str) -> UnreachableError:
        return UnreachableError(f"the scheduler {self._scheduler} has stopped, or let go of us: {how}")

    async def _watch(self) -> None:
        """End all tasks when the scheduler falls silent, or has had no workers for too long."""
        scheduler: Any = self._client.scheduler
        seen = time.monotonic()
        while not self._lost:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                asked = scheduler.identity(n_workers=0)
                identity = await asyncio.wait_for(asked, self._timeout)
            except TimeoutError:
                self._lost = self._stopped(f"nothing heard for {self._timeout:g} s")
            except OSError as error:
                self._lost = self._stopped(_first_line(error))
            else:
                if identity["n_workers"]:
                    seen = time.monotonic()
                elif time.monotonic() - seen > self._timeout:
                    self._lost = UnreachableError(f"the scheduler {self._scheduler} has no workers any more")
        self._cancel()


# ---- What travels ----


class _Pickler(pickle.Pickler):
    """Leaves out what a worker has of its own, by the names of `names`, and what no worker needs."""

    def __init__(self, file: io.BytesIO, names: Mapping[int, str | None]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, obj: object) -> str | None:
        """Return the name of what stays here."""
        return self._names.get(id(obj))

    def reducer_override(self, obj: object) -> Any:
        """Leave out of a download what only listings show; it may be much."""
        if type(obj) is Download and (obj.patients or obj.event_types):
            return replace(obj, patients=None, event_types=None).__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, own: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._own = own

    def persistent_load(self, name: str) -> Any:
        return self._own[name]


def _dumps(value: object, names: Mapping[int, str | None]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, names).dump(value)
    return file.getvalue()


def _twins() -> dict[int, str | None]:
    """Name the twins, whichever run here: a worker may have others."""
    return {
        id(getattr(choose_kernels(wanted), part)): part
        for wanted in ("auto", "pure")
        for part in ("tally", "generator")
    }


# ---- On a worker ----


def _own_twins() -> dict[str, Any]:
    kernels = choose_kernels(Settings.from_environment().kernel)
    return {"tally": kernels.tally, "generator": kernels.generator}


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
    with closing(_Unpickler(source, _own_twins()).load()) as opened:
        return sorted(opened.exports())


def run_here(version: str, source: bytes, task: bytes, run: str, number: int, pause: float) -> tuple[Any, list[int]]:
    """Run a task; return its result, and what its board says of it in the end."""
    if version != __version__:  # a worker that came later than the check
        _check_version(f"worker {distributed.get_worker().address}", version)
    twins = _own_twins()
    with closing(_Unpickler(source, twins).load()) as opened:
        board = _WorkerBoard(run, number, pause)
        result = _Unpickler(task, {**twins, "source": opened, "board": board}).load()(board, 0)
    return result, board.numbers(0)


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
