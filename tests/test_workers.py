"""What runs tasks in parallel: threads and processes, with the counters that they share with their caller."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from array import array
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import pytest
from tests.sources import MemorySource

from mockexport.errors import Remedy, UntrustedDataError
from mockexport.pipeline.executors import LocalWorkers, default_jobs, process_workers, thread_workers, workers_for
from mockexport.pipeline.progress import BUSY, LOST, RUNNING, Cancelled, ProgressCounters, TaskProgress
from mockexport.source import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.pipeline.executors import StartWorkers, Work, Workers
    from mockexport.source import Source

T = TypeVar("T")

STARTS: list[StartWorkers] = [partial(thread_workers, jobs=2), partial(process_workers, jobs=2)]
EITHER = pytest.mark.parametrize("start_workers", STARTS, ids=["threads", "processes"])
BOTH_MEMORIES = pytest.mark.parametrize(
    "memory",
    [lambda size: array("Q", bytes(8 * size)), lambda size: multiprocessing.RawArray("Q", size)],
    ids=["of this process", "shared"],
)
NEVER_SECONDS = 300
SOURCE = MemorySource({})


# ---- Progress ----


def figures(counters: ProgressCounters, tasks: int) -> tuple[Any, ...]:
    rows, sizes = [counters.rows(i) for i in range(tasks)], [counters.bytes(i) for i in range(tasks)]
    return counters.running(), counters.finished(), rows, sizes


@BOTH_MEMORIES
def test_counters_show_how_far_each_task_is_and_all_together(memory: Callable[[int], Any]) -> None:
    counters = ProgressCounters(3, memory(ProgressCounters.size(3)))
    tasks = [TaskProgress(counters, number) for number in range(3)]
    assert figures(counters, 3) == ([], 0, [0, 0, 0], [0, 0, 0])
    tasks[2].advance(rows=5, size=100)
    tasks[0].advance(rows=1, size=10)
    tasks[2].advance(rows=9, size=50)
    tasks[2].retry()
    assert figures(counters, 3) == ([0, 2], 0, [1, 0, 9], [10, 0, 150])
    tasks[2].finish(rows=10)
    assert figures(counters, 3) == ([0], 1, [1, 0, 10], [10, 0, 150])
    assert (counters.rows(), counters.bytes(), counters.retries(), counters.retries(2)) == (11, 160, 1, 1)


@BOTH_MEMORIES
def test_counters_hold_numbers_of_64_bits(memory: Callable[[int], Any]) -> None:
    counters = ProgressCounters(1, memory(ProgressCounters.size(1)))
    TaskProgress(counters, 0).advance(rows=2**63, size=2**40)
    assert (counters.rows(0), counters.bytes(0)) == (2**63, 2**40)


def test_a_task_that_starts_over_starts_at_zero_and_the_others_keep_their_numbers() -> None:
    counters = ProgressCounters(2)
    tasks = [TaskProgress(counters, number) for number in range(2)]
    tasks[0].advance(rows=5, size=100)
    tasks[1].advance(rows=6, size=60)
    tasks[0].restart()
    assert figures(counters, 2) == ([0, 1], 0, [0, 6], [0, 60])


def test_counters_show_what_a_task_waits_for_and_where_it_was_resumed() -> None:
    counters = ProgressCounters(2)
    task = TaskProgress(counters, 1)
    task.restart()
    assert (counters.running(), counters.status(1)) == ([1], (RUNNING, 0, 0))
    task.advance(rows=5, size=100)
    task.retry_after(2.5, busy=True)
    assert (counters.running(), counters.status(1)) == ([1], (BUSY, 2.5, 0))
    task.retry_after(float("inf"), busy=False)
    assert counters.status(1)[0] == LOST
    task.advance(rows=6, size=10)
    assert counters.status(1)[::2] == (RUNNING, 100)
    assert (counters.retries(1), counters.status(0)) == (2, (0, 0, 0))


def test_counters_tell_what_was_kept_from_what_was_read() -> None:
    counters = ProgressCounters(2)
    task = TaskProgress(counters, 0)
    task.restart()
    task.keep(rows=50, size=1000)
    task.advance(rows=60, size=200)
    assert (counters.rows(), counters.bytes(), counters.kept_rows(), counters.kept_bytes()) == (60, 1200, 50, 1000)
    assert counters.status(0) == (RUNNING, 0, 1000)
    task.restart()
    assert (counters.rows(), counters.bytes(), counters.kept_rows(), counters.kept_bytes()) == (0, 0, 0, 0)


def test_a_late_report_changes_nothing_of_a_finished_task() -> None:
    counters, remote = ProgressCounters(1), ProgressCounters(1)
    task = TaskProgress(remote, 0)
    task.advance(rows=5, size=100)
    late = remote.of_task(0)
    task.finish(rows=7)
    counters.set_task(0, remote.of_task(0))
    counters.set_task(0, late)
    assert figures(counters, 1) == ([], 1, [7], [100])


def test_a_cancelled_token_ends_every_task_at_its_next_step() -> None:
    counters, cancel = ProgressCounters(2), CancelToken()
    tasks = [TaskProgress(counters, number, cancel) for number in range(2)]
    tasks[0].advance(rows=1, size=1)
    cancel.cancel()
    for task in tasks:
        with pytest.raises(Cancelled):
            task.advance(rows=2, size=1)
        with pytest.raises(Cancelled):
            task.retry()
    assert figures(counters, 2) == ([0], 0, [1, 0], [1, 0])


def test_a_cancelled_token_calls_whoever_waits_and_whoever_comes_later() -> None:
    cancel, called = CancelToken(), []
    with cancel.on_cancel(lambda: called.append("left")):
        pass
    with cancel.on_cancel(lambda: called.append("waits")):
        assert not cancel.cancelled
        cancel.cancel()
        assert (cancel.cancelled, called) == (True, ["waits"])
    with cancel.on_cancel(lambda: called.append("late")):
        assert called == ["waits", "late"]


# ---- Tasks, which must be importable from a process of their own ----


@dataclass(frozen=True)
class Numbered:
    number: int


def count_up(_source: Source, _task: Numbered, progress: TaskProgress) -> int:
    for rows in range(1, 11):
        progress.advance(rows, size=100)
    progress.finish(rows=10)
    return os.getpid()


def fail(_source: Source, _task: Numbered, progress: TaskProgress) -> None:
    progress.advance(rows=1, size=1)
    raise UntrustedDataError("download 'x' is malformed at line 3: bad quote", remedy=Remedy.SKIP_MALFORMED)


def wait_for_cancel(_source: Source, _task: Numbered, progress: TaskProgress) -> None:
    deadline = time.monotonic() + NEVER_SECONDS
    while time.monotonic() < deadline:
        progress.advance(rows=1, size=0)
        time.sleep(0.001)


def hang(_source: Source, _task: Numbered, progress: TaskProgress) -> None:
    progress.advance(rows=1, size=1)
    time.sleep(NEVER_SECONDS)


def source_here(source: Source, _task: Numbered, _progress: TaskProgress) -> tuple[int, int]:
    return os.getpid(), id(source)


def interrupt_myself(_source: Source, _task: Numbered, _progress: TaskProgress) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()


def kill_myself(_source: Source, _task: Numbered, _progress: TaskProgress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def log_something(_source: Source, task: Numbered, _progress: TaskProgress) -> None:
    log = logging.getLogger("mockexport.source")
    log.info("task %d of a download with a name: %s", task.number, "é" * 100_000)
    log.debug("below the level")


def one_task(workers: Workers, work: Work[Numbered, T]) -> T:
    return workers.submit(work, Numbered(0)).result(timeout=60)


# ---- Threads and processes ----


@pytest.mark.gate
@EITHER
def test_tasks_and_their_caller_share_their_counters(start_workers: StartWorkers) -> None:
    with start_workers(SOURCE, 3, 0) as workers:
        futures = [workers.submit(count_up, Numbered(number)) for number in range(3)]
        ids = {future.result(timeout=60) for future in futures}
        assert figures(workers.counters, 3) == ([], 3, [10] * 3, [1000] * 3)
    assert (os.getpid() in ids) == (start_workers is STARTS[0])


@pytest.mark.gate
@EITHER
def test_a_worker_has_one_source_for_all_its_tasks(start_workers: StartWorkers) -> None:
    with start_workers(SOURCE, 20, 0) as workers:
        futures = [workers.submit(source_here, Numbered(number)) for number in range(20)]
        seen = {future.result(timeout=60) for future in futures}
    assert len(seen) == len({process for process, _ in seen}) <= 2


@EITHER
def test_an_error_comes_out_as_it_was_raised(start_workers: StartWorkers) -> None:
    with (
        start_workers(SOURCE, 1, 0) as workers,
        pytest.raises(UntrustedDataError, match=r"line 3: bad quote") as failed,
    ):
        one_task(workers, fail)
    assert failed.value.remedy is Remedy.SKIP_MALFORMED


@EITHER
def test_what_workers_log_is_logged_by_their_caller(
    start_workers: StartWorkers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mockexport"):
        with start_workers(SOURCE, 20, 0) as workers:
            for future in [workers.submit(log_something, Numbered(number)) for number in range(20)]:
                future.result(timeout=60)
        told = [(record.name, record.levelno) for record in caplog.records]
        assert told == [("mockexport.source", logging.INFO)] * 20
    texts = sorted(record.getMessage() for record in caplog.records)
    starts = sorted(f"task {number} of a download with a name: éé" for number in range(20))
    assert all(text.startswith(start) for text, start in zip(texts, starts, strict=True))


@EITHER
def test_cancelled_tasks_end_and_no_worker_stays(start_workers: StartWorkers, eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), start_workers(SOURCE, 8, 0) as workers:  # noqa: PT012 - leaving is the point
        futures = [workers.submit(wait_for_cancel, Numbered(number)) for number in range(8)]
        eventually(lambda: len(workers.counters.running()) == 2)
        workers.cancel()
        raise KeyboardInterrupt
    eventually(lambda: all(future.done() for future in futures))
    assert sum(future.cancelled() for future in futures) >= 3  # two ran, and three may wait in the processes' queue
    assert workers.counters.finished() == 0
    eventually(lambda: set(threading.enumerate()) <= before)
    assert multiprocessing.active_children() == []


def test_never_more_than_so_many_threads_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def work(_source: Source, _task: Numbered, _progress: TaskProgress) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)  # three at once, or none ever gets on
        with lock:
            running -= 1

    with thread_workers(SOURCE, 9, jobs=3) as workers:
        for future in [workers.submit(work, Numbered(number)) for number in range(9)]:
            future.result(timeout=60)
    assert most == 3


# ---- Processes ----


@pytest.mark.gate
def test_a_process_that_hangs_is_ended_after_a_grace(eventually: Callable[..., None]) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_workers(SOURCE, 1) as workers:  # noqa: PT012 - as above
        workers.submit(hang, Numbered(0))
        eventually(workers.counters.running)
        workers.cancel()
        raise KeyboardInterrupt
    assert time.monotonic() - started < NEVER_SECONDS
    assert multiprocessing.active_children() == []


@pytest.mark.gate
def test_the_processes_of_another_caller_are_left_alone(eventually: Callable[..., None]) -> None:
    with process_workers(SOURCE, 1) as others:
        future = others.submit(wait_for_cancel, Numbered(0))
        eventually(others.counters.running)
        with pytest.raises(KeyboardInterrupt), process_workers(SOURCE, 1) as workers:  # noqa: PT012 - as above
            workers.submit(hang, Numbered(0))
            eventually(workers.counters.running)
            raise KeyboardInterrupt
        others.cancel()
        with pytest.raises(Cancelled):
            future.result(timeout=60)


def test_ctrl_c_is_left_to_the_caller() -> None:
    with process_workers(SOURCE, 1) as workers:
        assert one_task(workers, interrupt_myself) == one_task(workers, interrupt_myself)


def test_a_process_that_dies_breaks_the_executor_and_hangs_nobody() -> None:
    with process_workers(SOURCE, 2, jobs=2) as workers, pytest.raises(BrokenExecutor):
        one_task(workers, kill_myself)
    assert multiprocessing.active_children() == []


ORPHANS = """
import os, time
from mockexport.pipeline.executors import process_workers
from types import SimpleNamespace

def work(source, task, progress):
    os.write(1, b"working\\n")  # at once, whatever the other one writes
    time.sleep(300)

if __name__ == "__main__":
    with process_workers(None, 2, jobs=2) as workers:
        futures = [workers.submit(work, SimpleNamespace(number=number)) for number in range(2)]
        futures[0].result()
"""


@pytest.mark.gate
def test_processes_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        try:
            assert [parent.stdout.readline() for _ in range(2)] == ["working\n"] * 2
        finally:
            parent.kill()
        parent.communicate(timeout=60)  # ends when the last process that holds our pipe has ended


@pytest.mark.kernel
def test_the_installed_command_counts_in_processes_where_the_kernel_is_pure(
    golden_demo: dict[str, dict[str, int]],
) -> None:
    command = [f"{sysconfig.get_path('scripts')}/mockexport", "count", "demo", "--jobs", "2"]
    environment = {**os.environ, "MOCKEXPORT_KERNEL": "pure", "MOCKEXPORT_SOURCE": "mock"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
    assert orjson.loads(done.stdout)["patients"] == golden_demo


# ---- Which of them ----


@pytest.mark.parametrize(
    ("jobs", "releases_gil", "kind"),
    [(4, True, thread_workers), (4, False, process_workers), (1, False, thread_workers), (1, True, thread_workers)],
)
def test_processes_are_for_work_that_keeps_the_gil_and_more_than_one_job(
    jobs: int, releases_gil: bool, kind: object
) -> None:
    chosen = workers_for(jobs, releases_gil=releases_gil)
    assert isinstance(chosen, partial)
    assert chosen.func is kind
    assert chosen.keywords == {"jobs": jobs}


@pytest.mark.parametrize(("rows", "processes"), [(0, False), (19_999_999, False), (20_000_000, True)])
def test_large_exports_that_come_over_http_get_processes(rows: int, processes: bool) -> None:
    with workers_for(2, releases_gil=True, over_http=True)(SOURCE, 1, rows) as workers:
        assert isinstance(workers, LocalWorkers)
        assert isinstance(workers.executor, ProcessPoolExecutor if processes else ThreadPoolExecutor)


def test_one_job_stays_a_thread_over_http() -> None:
    with workers_for(1, releases_gil=True, over_http=True)(SOURCE, 1, 100_000_000) as workers:
        assert isinstance(workers, LocalWorkers)
        assert isinstance(workers.executor, ThreadPoolExecutor)


def test_there_are_as_many_jobs_as_processors_for_us() -> None:
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)
    chosen = workers_for(None, releases_gil=True)
    assert isinstance(chosen, partial)
    assert chosen.keywords == {"jobs": default_jobs()}
