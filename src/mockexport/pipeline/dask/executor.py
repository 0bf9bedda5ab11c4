"""The workers of a cluster as the user's machine sees them."""

from __future__ import annotations

import asyncio
import pickle
import time
import uuid
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.scheduler import KilledWorker

from mockexport._version import __version__
from mockexport.errors import UnreachableError, UsageError
from mockexport.pipeline.dask.preflight import first_line
from mockexport.pipeline.dask.worker import TOPIC, run_on_worker
from mockexport.pipeline.executors import Task
from mockexport.pipeline.progress import ProgressCounters

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    import distributed

    from mockexport.pipeline.executors import Work
    from mockexport.source import Source

__all__ = ["ClusterWorkers"]

R = TypeVar("R")
T = TypeVar("T", bound=Task)
WATCH_SECONDS = 2.0  # between two looks at the scheduler


class ClusterWorkers:
    """Submits tasks through a client that is connected to a cluster; the contract is `Workers`.

    Each task tells how far it is at least `pause` seconds after it did so last.
    """

    def __init__(
        self, client: distributed.Client, scheduler: str, source: Source, tasks: int, pause: float, timeout: float
    ) -> None:
        self.counters = ProgressCounters(tasks)
        self._client = client
        loop: Any = client.loop
        self._loop: asyncio.AbstractEventLoop = loop.asyncio_loop
        self._scheduler = scheduler
        self._run = uuid.uuid4().hex
        self._source = pickle.dumps(source)
        self._pause = pause
        self._timeout = timeout
        self._running: set[asyncio.Task[Any]] = set()
        self._lost: UnreachableError | None = None
        client.subscribe_topic(TOPIC, self._take_report)
        self._watching = self._start(self._watch())

    def submit(self, work: Work[T, R], task: T) -> Future[R]:
        """Have a task done on a worker."""
        remote = self._client.submit(
            run_on_worker,
            __version__, self._run, self._source, pickle.dumps((work, task)), self._pause,
            key=("mockexport-" + self._run, uuid.uuid4().hex),
            pure=False,
        )  # fmt: skip
        return self._start(self._result(remote, task.number))

    def cancel(self) -> None:
        """Cancel all tasks; those on workers end at their next step."""
        self._watching.cancel()
        self._loop.call_soon_threadsafe(self._cancel)

    def _take_report(self, event: tuple[float, tuple[str, int, list[int]]]) -> None:
        """Take what a task of this run tells of its progress."""
        _, (run, number, numbers) = event
        if run == self._run:
            self.counters.set_task(number, numbers)

    def _start(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def _result(self, remote: distributed.Future[Any], number: int) -> Any:
        """Wait for a result; when it is not wanted any more, releasing it cancels the work."""
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
                f"{error.allowed_failures + 1} workers died at the same task, the last one "
                f"{error.last_worker.address}; their memory may be short"
            ) from error
        except (CancelledError, OSError) as error:
            raise self._lost_scheduler(getattr(error, "reason", None) or first_line(error)) from error
        except ModuleNotFoundError as error:
            raise UsageError(f"a worker lacks a module that the task needs: {error}") from error
        finally:
            self._running.discard(waiting)
            remote.release()
        self.counters.set_task(number, numbers)
        return result

    def _lost_scheduler(self, how: str) -> UnreachableError:
        return UnreachableError(f"lost the scheduler {self._scheduler}: {how}")

    async def _watch(self) -> None:
        """End all tasks when the scheduler does not answer, or has had no workers for too long."""
        scheduler: Any = self._client.scheduler
        seen = time.monotonic()
        while not self._lost:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                asked = scheduler.identity(n_workers=0)
                identity = await asyncio.wait_for(asked, self._timeout)
            except TimeoutError:
                self._lost = self._lost_scheduler(f"no answer within {self._timeout:g} s")
            except OSError as error:
                self._lost = self._lost_scheduler(first_line(error))
            else:
                if identity["n_workers"]:
                    seen = time.monotonic()
                elif time.monotonic() - seen > self._timeout:
                    self._lost = UnreachableError(f"the scheduler {self._scheduler} has lost all its workers")
        self._cancel()
