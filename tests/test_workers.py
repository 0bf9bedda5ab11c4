"""What runs tasks side by side: threads, processes, and the board between them and their caller."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from array import array
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from mockexport.errors import UntrustedDataError
from mockexport.pipeline.executors import Board, Cancelled, default_jobs, process_workers, thread_workers, workers_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.pipeline.executors import StartWorkers

STARTS: list[StartWorkers] = [partial(thread_workers, jobs=2), partial(process_workers, jobs=2)]
EITHER = pytest.mark.parametrize("start_workers", STARTS, ids=["threads", "processes"])
BOTH_MEMORIES = pytest.mark.parametrize(
    "memory",
    [lambda size: array("Q", bytes(8 * size)), lambda size: multiprocessing.RawArray("Q", size)],
    ids=["of this process", "shared"],
)
NEVER_SECONDS = 300


# ---- The board ----


def figures(board: Board, tasks: int) -> tuple[Any, ...]:
    return board.running(), board.ended(), [board.rows(i) for i in range(tasks)], [board.bytes(i) for i in range(tasks)]


@BOTH_MEMORIES
def test_a_board_shows_how_far_each_task_is_and_all_together(memory: Callable[[int], Any]) -> None:
    board = Board(memory(Board.size(3)))
    assert figures(board, 3) == ([], 0, [0, 0, 0], [0, 0, 0])
    board.advance(2, rows=5, size=100)
    board.advance(0, rows=1, size=10)
    board.advance(2, rows=9, size=50)
    assert figures(board, 3) == ([0, 2], 0, [1, 0, 9], [10, 0, 150])
    board.end(2, rows=10)
    assert figures(board, 3) == ([0], 1, [1, 0, 10], [10, 0, 150])
    assert (board.rows(), board.bytes()) == (11, 160)


@BOTH_MEMORIES
def test_a_board_takes_numbers_of_64_bits(memory: Callable[[int], Any]) -> None:
    board = Board(memory(Board.size(1)))
    board.advance(0, rows=2**63, size=2**40)
    assert (board.rows(0), board.bytes(0)) == (2**63, 2**40)


def test_a_task_that_begins_anew_begins_at_zero_and_the_others_go_on() -> None:
    board = Board(array("Q", bytes(8 * Board.size(2))))
    board.advance(0, rows=5, size=100)
    board.advance(1, rows=6, size=60)
    board.restart(0)
    assert figures(board, 2) == ([0, 1], 0, [0, 6], [0, 60])


def test_stop_reaches_every_task_at_its_next_step() -> None:
    board = Board(array("Q", bytes(8 * Board.size(2))))
    board.advance(0, rows=1, size=1)
    board.stop()
    for task in (0, 1):
        with pytest.raises(Cancelled):
            board.advance(task, rows=2, size=1)
    assert figures(board, 2) == ([0], 0, [1, 0], [1, 0])


# ---- Tasks, which must be importable from a process of their own ----


def count_up(board: Board, task: int) -> int:
    for rows in range(1, 11):
        board.advance(task, rows, size=100)
    board.end(task, rows=10)
    return os.getpid()


def fail(board: Board, task: int) -> None:
    board.advance(task, rows=1, size=1)
    raise UntrustedDataError("download 'x' is malformed at line 3: bad quote")


def wait_for_stop(board: Board, task: int) -> None:
    deadline = time.monotonic() + NEVER_SECONDS
    while time.monotonic() < deadline:
        board.advance(task, rows=1, size=0)
        time.sleep(0.001)


def hang(board: Board, task: int) -> None:
    board.advance(task, rows=1, size=1)
    time.sleep(NEVER_SECONDS)


def interrupt_myself(_board: Board, _task: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid()


def kill_myself(_board: Board, _task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# ---- Threads and processes ----


@EITHER
def test_tasks_and_their_caller_share_one_board(start_workers: StartWorkers) -> None:
    with start_workers(3, 0) as (executor, board):
        futures = [executor.submit(count_up, board, task) for task in range(3)]
        ids = {future.result(timeout=60) for future in futures}
        assert figures(board, 3) == ([], 3, [10] * 3, [1000] * 3)
    assert (os.getpid() in ids) == (start_workers is STARTS[0])


@EITHER
def test_an_error_comes_out_as_it_was_raised(start_workers: StartWorkers) -> None:
    with start_workers(1, 0) as (executor, board), pytest.raises(UntrustedDataError, match=r"line 3: bad quote"):
        executor.submit(fail, board, 0).result(timeout=60)


@EITHER
def test_tasks_end_at_stop_and_no_worker_is_left(start_workers: StartWorkers, eventually: Callable[..., None]) -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), start_workers(8, 0) as (executor, board):  # noqa: PT012 - leaving it is the point
        futures = [executor.submit(wait_for_stop, board, task) for task in range(8)]
        eventually(lambda: len(board.running()) == 2)
        board.stop()
        raise KeyboardInterrupt
    eventually(lambda: all(future.done() for future in futures))
    assert sum(future.cancelled() for future in futures) >= 4  # they had not begun
    assert board.ended() == 0
    eventually(lambda: set(threading.enumerate()) <= before)
    assert multiprocessing.active_children() == []


def test_never_more_than_so_many_threads_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def task() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)  # three at once, or none ever gets on
        with lock:
            running -= 1

    with thread_workers(9, jobs=3) as (executor, _):
        for future in [executor.submit(task) for _ in range(9)]:
            future.result(timeout=60)
    assert most == 3


# ---- Processes ----


def test_a_process_that_hangs_is_ended_after_a_grace(eventually: Callable[..., None]) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_workers(1) as (executor, board):  # noqa: PT012 - as above
        executor.submit(hang, board, 0)
        eventually(board.running)
        board.stop()
        raise KeyboardInterrupt
    assert time.monotonic() - started < 30
    assert multiprocessing.active_children() == []


def test_the_processes_of_another_caller_are_left_alone(eventually: Callable[..., None]) -> None:
    with process_workers(1) as (others, others_board):
        future = others.submit(wait_for_stop, others_board, 0)
        eventually(others_board.running)
        with pytest.raises(KeyboardInterrupt), process_workers(1) as (executor, board):  # noqa: PT012 - as above
            executor.submit(hang, board, 0)
            eventually(board.running)
            raise KeyboardInterrupt
        others_board.stop()
        with pytest.raises(Cancelled):
            future.result(timeout=60)


def test_ctrl_c_is_left_to_the_caller() -> None:
    with process_workers(1) as (executor, board):
        first = executor.submit(interrupt_myself, board, 0).result(timeout=60)
        assert executor.submit(interrupt_myself, board, 0).result(timeout=60) == first


def test_a_process_that_dies_breaks_the_executor_and_hangs_nobody() -> None:
    with process_workers(2, jobs=2) as (executor, board), pytest.raises(BrokenExecutor):
        executor.submit(kill_myself, board, 0).result(timeout=60)
    assert multiprocessing.active_children() == []


def test_a_board_travels_as_a_reference() -> None:
    board = Board(array("Q", bytes(8 * Board.size(1000))))
    assert len(pickle.dumps(board)) < 200


ORPHANS = """
import sys, time
from mockexport.pipeline.executors import process_workers

def work(board, task):
    print("working", flush=True)
    time.sleep(300)

if __name__ == "__main__":
    with process_workers(2, jobs=2) as (executor, board):
        futures = [executor.submit(work, board, task) for task in range(2)]
        futures[0].result()
"""


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
    with workers_for(2, releases_gil=True, over_http=True)(1, rows) as (executor, _board):
        assert isinstance(executor, ProcessPoolExecutor if processes else ThreadPoolExecutor)


def test_one_job_stays_a_thread_over_http() -> None:
    with workers_for(1, releases_gil=True, over_http=True)(1, 100_000_000) as (executor, _board):
        assert isinstance(executor, ThreadPoolExecutor)


def test_there_are_as_many_jobs_as_processors_for_us() -> None:
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)
    chosen = workers_for(None, releases_gil=True)
    assert isinstance(chosen, partial)
    assert chosen.keywords == {"jobs": default_jobs()}
