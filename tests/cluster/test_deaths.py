"""Workers die, the scheduler dies, the user goes away: the count is exact, or it ends and goes on later."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests import seeds
from tests.cli.conftest import write_export
from tests.cluster.conftest import WORKERS
from tests.cluster.machines import Cluster
from tests.cluster.sources import Endless
from tests.commands import Ended, run_command, serve_command, started, wait_while_running
from tests.sources import EXPORT as TRIAL
from tests.sources import csv_body
from tests.test_kill import kept_downloads

from mockexport import UnreachableError, count
from mockexport.pipeline.dask import cluster_workers

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mockexport import Download
    from mockexport.pipeline.progress import ProgressCounters

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")

DOWNLOADS = 12
ROWS = 10_000
BYTES_A_SECOND = 200_000  # of each body: a download takes half a second, whatever the machine
COUNT = ("count", TRIAL, "--checkpoint", "kept")
MOMENTS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))]


@dataclass(frozen=True)
class Export:
    """An export that is counted slowly, and the answer of a count."""

    arguments: tuple[str, ...]
    exact: str


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """A folder whose server takes its time."""
    folder = tmp_path_factory.mktemp("served")
    bodies = {f"d{number:02}": csv_body(ROWS, b"P%d,t,x,1\n" % number) for number in range(DOWNLOADS)}
    write_export(folder, TRIAL, **bodies)
    done = run_command(folder, "count", TRIAL, "-s", folder)
    assert done.code == 0
    with serve_command("-s", folder, "--faults", f"data:slow={BYTES_A_SECOND}") as server:
        yield Export((*COUNT, "-s", server.url), done.stdout)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose scheduler may be killed."""
    (tmp_path / "mortal").mkdir()
    with Cluster(tmp_path / "mortal") as cluster:
        yield cluster.with_workers(1)


def ended(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=60)
    return Ended(process.returncode, stdout, stderr)


def count_while(cluster: Cluster, export: Export, folder: Path, finished: int, happens: Callable[[], object]) -> Ended:
    """Count, and let something happen once so many downloads are finished."""
    with started(folder, *export.arguments, "--scheduler", cluster.address) as process:
        wait_while_running(process, lambda: len(kept_downloads(folder / "kept")) >= finished)
        assert process.poll() is None, "it ended before anything could happen"
        happens()
        return ended(process)


# ---- Workers ----


@pytest.mark.gate
@pytest.mark.parametrize("seed", MOMENTS)
def test_a_worker_that_is_killed_at_any_moment_leaves_the_count_exact(
    cluster: Cluster, export: Export, tmp_path: Path, seed: int
) -> None:
    chance = seeds.rng(seed)

    def kill() -> None:
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is tried here
        cluster.end_worker(chance.choice(list(cluster.workers)))

    done = count_while(cluster, export, tmp_path, chance.randrange(DOWNLOADS // 2), kill)
    assert (done.code, done.stdout, done.stderr) == (0, export.exact, "")
    assert len(cluster.workers) == WORKERS - 1
    ids = kept_downloads(tmp_path / "kept")
    assert len(ids) == len(set(ids)) == DOWNLOADS


@pytest.mark.slow
def test_two_workers_that_are_killed_leave_the_count_exact(cluster: Cluster, export: Export, tmp_path: Path) -> None:
    def kill() -> None:
        for name in list(cluster.workers)[:2]:
            cluster.end_worker(name)

    done = count_while(cluster.with_workers(3), export, tmp_path, 3, kill)
    assert (done.code, done.stdout, done.stderr) == (0, export.exact, "")


@pytest.mark.slow
def test_workers_that_come_later_take_part(cluster: Cluster, export: Export, tmp_path: Path) -> None:
    """All are killed, and others started."""

    def replace() -> None:
        for name in list(cluster.workers):
            cluster.end_worker(name)
        cluster.with_workers(2)

    done = count_while(cluster, export, tmp_path, 3, replace)
    assert (done.code, done.stdout, done.stderr) == (0, export.exact, "")


@pytest.mark.gate
def test_when_all_workers_are_gone_it_ends_after_a_while(cluster: Cluster, export: Export, tmp_path: Path) -> None:
    arguments = (*export.arguments, "--scheduler", cluster.address)
    with started(tmp_path, *arguments, "--timeout", "1") as process:
        wait_while_running(process, lambda: kept_downloads(tmp_path / "kept"))
        for name in list(cluster.workers):
            cluster.end_worker(name)
        broken = ended(process)
    assert (broken.code, broken.stdout) == (5, "")
    assert f"error: the scheduler {cluster.address} has lost all its workers\n" in broken.stderr

    kept = kept_downloads(tmp_path / "kept")
    assert run_command(tmp_path, *export.arguments).stdout == export.exact
    assert kept_downloads(tmp_path / "kept")[: len(kept)] == kept


# ---- The scheduler ----


@pytest.mark.gate
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_dies_or_falls_silent_is_exit_5_and_the_checkpoint_is_gone_on_with(
    mortal: Cluster, cluster: Cluster, export: Export, tmp_path: Path, sent: signal.Signals
) -> None:
    with started(tmp_path, *export.arguments, "--scheduler", mortal.address, "--timeout", "2") as process:
        wait_while_running(process, lambda: len(kept_downloads(tmp_path / "kept")) > 1)
        mortal.scheduler.send_signal(sent)
        broken = ended(process)
    kept = kept_downloads(tmp_path / "kept")
    assert (broken.code, broken.stdout) == (5, ""), broken.stderr
    hint, error = broken.stderr.splitlines()
    assert hint == f"mockexport: {len(kept)} downloads are saved in kept; run the same command again to resume"
    assert error.startswith(f"mockexport: error: lost the scheduler {mortal.address}: ")
    assert 1 < len(kept) < DOWNLOADS

    done = run_command(tmp_path, *export.arguments, "--scheduler", cluster.address)

    assert (done.code, done.stdout, done.stderr) == (0, export.exact, "")
    ids = kept_downloads(tmp_path / "kept")
    assert ids[: len(kept)] == kept
    assert len(ids) == len(set(ids)) == DOWNLOADS


# ---- The user ----


@pytest.mark.gate
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -9),
    ],
)
def test_when_the_user_goes_the_cluster_lets_go_of_the_work_and_is_ready_for_more(
    cluster: Cluster,
    export: Export,
    tmp_path: Path,
    sent: signal.Signals,
    code: int,
    eventually: Callable[..., None],
) -> None:
    with started(tmp_path, *export.arguments, "--scheduler", cluster.address) as process:
        wait_while_running(process, lambda: kept_downloads(tmp_path / "kept"))
        process.send_signal(sent)
        gone = ended(process)
    assert (gone.code, gone.stdout) == (code, "")
    assert len(gone.stderr.splitlines()) == (2 if code > 0 else 0), gone.stderr  # how to go on, and what happened
    assert len(kept_downloads(tmp_path / "kept")) < DOWNLOADS

    eventually(lambda: is_idle(cluster))
    done = run_command(tmp_path, *export.arguments, "--scheduler", cluster.address)
    assert (done.code, done.stdout, done.stderr) == (0, export.exact, "")


def is_idle(cluster: Cluster) -> bool:
    """Tell whether the scheduler knows of no task, and no worker runs one, wanted or not."""
    script = """
import sys
from distributed import Client
with Client(sys.argv[1], set_as_default=False) as client:
    tasks = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    threads = client.run(lambda dask_worker: len(dask_worker.active_threads))
    print(tasks + sum(threads.values()))
"""
    done = run_command(cluster.folder, "-c", script, cluster.address, program=(sys.executable,), PYTHONWARNINGS="")
    assert done.code == 0, done.stderr
    return done.stdout == "0\n"


@pytest.mark.gate
def test_after_an_error_of_one_task_the_others_end_too(cluster: Cluster, eventually: Callable[..., None]) -> None:
    source = Endless({"a": b"", "b": b""})
    workers = partial(cluster_workers, scheduler=cluster.address)

    def interrupt(_downloads: list[Download], counters: ProgressCounters) -> None:
        if len(counters.running()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(source, TRIAL, start_workers=workers, on_progress=interrupt)  # type: ignore[arg-type]
    eventually(lambda: is_idle(cluster))


@pytest.mark.gate
def test_after_the_scheduler_is_gone_nothing_is_left_waiting(mortal: Cluster) -> None:
    source = Endless({"a": b""})
    workers = partial(cluster_workers, scheduler=mortal.address, timeout=2)

    def kill(_downloads: object, counters: ProgressCounters) -> None:
        if counters.running():
            mortal.scheduler.kill()

    with pytest.raises(UnreachableError, match="lost the scheduler"):
        count(source, TRIAL, start_workers=workers, on_progress=kill)
