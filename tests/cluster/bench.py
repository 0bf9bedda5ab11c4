"""The figures of docs/scale.md: `uv run python -m tests.cluster.bench` prints them, in some minutes.

Scheduler and workers are real, on this machine, a thread each. Nothing here passes or fails.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.machines import Cluster
from tests.cluster.sources import Many, Nothing, nothing

from mockexport import count, open_source
from mockexport.pipeline.checkpoint import Checkpoint, Subject
from mockexport.pipeline.dask import cluster_workers
from mockexport.pipeline.executors import thread_workers
from mockexport.pipeline.running import run_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport.model import Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.progress import ProgressCounters
    from mockexport.pipeline.splits import Split
    from mockexport.source import Source

ROUNDS = 5
PIECES = 100_000  # of the export that docs/scale.md is about
EMPTY = 1000
CROWD_WORKERS = 100
CROWD_SECONDS = 20.0
CROWD = """
import asyncio
from distributed import Worker

async def main():
    workers = [Worker("{address}", nthreads=4, dashboard=False) for _ in range({workers})]
    await asyncio.gather(*workers)
    print("there", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

# The model of docs/scale.md: what it takes for given, and what was measured.
ROWS = 10**12
ROW_BYTES = 44
WORKER_ROWS_A_SECOND = 28e6  # 10 Gbit/s, which four threads of the native tally more than keep up with
SCHEDULER_SECONDS = 1.2e-3  # of its processor, a piece


def print_figure(what: str, figure: str) -> None:
    """Print one line."""
    print(f"{what:<58} {figure:>16}", flush=True)


def on(cluster: Cluster) -> StartWorkers:
    return partial(cluster_workers, scheduler=cluster.address)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def memory_mb(pid: int | str = "self", what: str = "VmRSS") -> float:
    """What a process holds in memory, or (VmHWM) has held at the most."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1000


def processor_seconds(pid: int) -> float:
    """How long a process has kept a processor busy."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_empty(source: Source, workers: StartWorkers, pieces: int) -> None:
    labels = [Many.download(number) for number in range(pieces)]
    for _ in run_tasks(source, nothing, [Nothing(number) for number in range(pieces)], labels, workers):
        pass


def start_figures(cluster: Cluster) -> None:
    """How long it takes to connect and check, and what a piece costs beyond its own work."""
    source = Many()
    whole = statistics.median(seconds(lambda: run_empty(source, on(cluster), 1)) for _ in range(ROUNDS))
    print_figure("connect, check, one empty piece", f"{whole:.2f} s")
    for name, workers, start in (("cluster", on(cluster), whole), ("threads", thread_workers, 0.0)):
        many = statistics.median(seconds(partial(run_empty, source, workers, EMPTY)) for _ in range(ROUNDS))
        print_figure(f"an empty piece, {name}", f"{(many - start) / EMPTY * 1000:.2f} ms")


def scaling_figures(folder: Path) -> None:
    """How much faster two and three workers are, on the made-up export large."""
    source = open_source()
    with Cluster(folder) as cluster:
        base = 0.0
        for workers in (1, 2, 3):
            cluster.with_workers(workers)
            took = statistics.median(
                seconds(partial(count, source, "large", start_workers=on(cluster))) for _ in range(3)
            )
            base = base or took
            print_figure(f"count large, {workers} worker(s) of one thread", f"{took:.2f} s, {base / took:.2f} times")


def simulation(cluster: Cluster, folder: Path) -> None:
    """Count an export of so many tiny downloads: all of the way but the rows themselves."""
    source = Many(PIECES)
    looks: list[float] = []

    def on_progress(_downloads: Sequence[Download | Split], _counters: ProgressCounters) -> None:
        looks.append(memory_mb(cluster.scheduler.pid))

    before = memory_mb(cluster.scheduler.pid)
    busy = {pid: processor_seconds(pid) for pid in (cluster.scheduler.pid, os.getpid())}
    with Checkpoint(folder / "kept", Subject("many", "many", skip_malformed=False)) as checkpoint:
        took = seconds(
            lambda: count(source, "many", start_workers=on(cluster), on_progress=on_progress, checkpoint=checkpoint)
        )
    print_figure(f"{PIECES:,} pieces of {source.rows} rows, 3 workers, checkpoint", f"{took:.0f} s")
    print_figure("  pieces a second", f"{PIECES / took:.0f}")
    for pid, name in ((cluster.scheduler.pid, "scheduler"), (os.getpid(), "client")):
        print_figure(f"  {name}: processor a piece", f"{(processor_seconds(pid) - busy[pid]) / PIECES * 1000:.2f} ms")
    print_figure("  scheduler: memory before, at the most", f"{before:.0f}, {max(looks):.0f} MB")
    print_figure("  client: memory at the most", f"{memory_mb(what='VmHWM'):.0f} MB")
    size = (folder / "kept").stat().st_size
    print_figure("  checkpoint", f"{size / 1e6:.0f} MB")
    print_figure("  read again", f"{seconds(lambda: again(folder)):.1f} s")


def again(folder: Path) -> None:
    with Checkpoint(folder / "kept", Subject("many", "many", skip_malformed=False)) as checkpoint:
        assert checkpoint.count == PIECES


def crowd_figures(cluster: Cluster) -> None:
    """What workers cost the scheduler that only are there; many of them are in one process here."""
    before = memory_mb(cluster.scheduler.pid)
    script = CROWD.format(address=cluster.address, workers=CROWD_WORKERS)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.readline()
        after, busy = memory_mb(cluster.scheduler.pid), processor_seconds(cluster.scheduler.pid)
        time.sleep(CROWD_SECONDS)
        load = (processor_seconds(cluster.scheduler.pid) - busy) / CROWD_SECONDS
        process.kill()
    print_figure("scheduler: memory a worker", f"{(after - before) / CROWD_WORKERS:.2f} MB")
    print_figure(f"scheduler: load of {CROWD_WORKERS} idle workers", f"{load:.1%} of a processor")


def model() -> None:
    """Print how long a trillion rows in a hundred thousand downloads take, by what was measured."""
    for workers in (1, 3, 10, 30, 100, 300, 1000):
        counting = ROWS / (workers * WORKER_ROWS_A_SECOND)
        scheduling = PIECES * SCHEDULER_SECONDS
        took, which = max((counting, "the workers' network"), (scheduling, "the scheduler"))
        source = ROWS * ROW_BYTES / took / 1e9
        print(f"| {workers:,} | {took / 60:,.0f} min | {which} | {source:,.1f} GB/s |")


def main() -> None:
    """Print all figures, or the model alone."""
    if sys.argv[1:] == ["model"]:
        model()
        return
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("scaling", "cluster", "kept")]
        for folder in folders:
            folder.mkdir()
        scaling_figures(folders[0])
        with Cluster(folders[1]) as cluster:
            cluster.with_workers(3)
            start_figures(cluster)
            simulation(cluster, folders[2])
            crowd_figures(cluster)
    model()


if __name__ == "__main__":
    main()
