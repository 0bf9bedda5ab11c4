"""The executor on the user's machine, and the board that hears from the workers."""

from __future__ import annotations

import asyncio
import time
import uuid
from array import array
from concurrent.futures import CancelledError, Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.scheduler import KilledWorker

from mockexport._version import __version__
from mockexport.errors import UnreachableError, UsageError
from mockexport.pipeline.dask.preflight import first_line
from mockexport.pipeline.dask.serialize import dumps, twins
from mockexport.pipeline.dask.worker import run_here
from mockexport.pipeline.executors import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import distributed

    from mockexport.source import Source

__all__ = ["CallerBoard", "ClusterExecutor"]

T = TypeVar("T")
WATCH_SECONDS = 2.0  # between two looks at the scheduler


class CallerBoard(Board):
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
        self, client: distributed.Client, scheduler: str, source: Source, board: CallerBoard, timeout: float
    ) -> None:
        self._client = client
        loop: Any = client.loop
        self._loop: asyncio.AbstractEventLoop = loop.asyncio_loop
        self._scheduler = scheduler
        self._board = board
        self._timeout = timeout
        self._names = {**twins(), id(source): "source", id(board): "board"}
        self._source = dumps(source, twins())
        self._running: set[asyncio.Task[Any]] = set()
        self._lost: UnreachableError | None = None
        self._watching = self._start(self._watch())

    def submit(self, task: Callable[..., T], /, _board: Board, number: int) -> Future[T]:  # type: ignore[override]
        """Run `task(board, number)` on a worker, with a board of its own."""
        remote = self._client.submit(
            run_here,
            __version__, self._source, dumps(task, self._names), self._board.run, number, self._board.pause,
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
            raise self._stopped(getattr(error, "reason", None) or first_line(error)) from error
        except ModuleNotFoundError as error:
            raise UsageError(f"a worker lacks a part of what is needed: {error}") from error
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
                self._lost = self._stopped(first_line(error))
            else:
                if identity["n_workers"]:
                    seen = time.monotonic()
                elif time.monotonic() - seen > self._timeout:
                    self._lost = UnreachableError(f"the scheduler {self._scheduler} has no workers any more")
        self._cancel()
