"""The figures of docs/design.md: `uv run python -m tests.bench` prints them, in about a minute.

Each figure is the median of several rounds. Nothing here passes or fails; what must hold is in the tests.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mockexport.kernels import choose_kernels
from mockexport.mock.specs import plans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from mockexport.kernels import Kernels

COMMAND = [sys.executable, "-m", "mockexport"]
CHUNK = 1 << 18


def median_seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """How long the work takes, in seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def print_figure(what: str, figure: str) -> None:
    """Print one line."""
    print(f"{what:<58} {figure:>16}", flush=True)


def mock_chunks(kernels: Kernels, rows: int) -> list[bytes]:
    """The first rows, at least so many, of a download of the export large."""
    generator = kernels.generator(plans("large")[3])
    chunks, seen = [], 0
    while seen < rows:
        chunks.append(generator.read(CHUNK))
        seen += chunks[-1].count(b"\n")
    return chunks


def tally_speed(kernels: Kernels, chunks: list[bytes], times: int = 1) -> float:
    """Rows a second on one core, over the same chunks `times` times."""
    rows = times * sum(chunk.count(b"\n") for chunk in chunks)

    def work() -> None:
        tally = kernels.tally()
        for _ in range(times):
            for chunk in chunks:
                tally.feed(chunk)
        tally.finish()

    return rows / median_seconds(work)


def generator_speed(kernels: Kernels, rows: int) -> float:
    """Rows a second on one core."""

    def work() -> None:
        generator, left = kernels.generator(plans("large")[3]), rows
        while left > 0:
            left -= generator.read(CHUNK).count(b"\n")

    return rows / median_seconds(work, 3)


def patient_chunks(patients: int, rows: int) -> list[bytes]:
    """Rows of so many distinct patients, in a scattered order."""
    out, size = [], 10_000
    for at in range(0, rows, size):
        numbers = ((n * 7919) % patients for n in range(at, at + size))
        out.append(b"".join(b"P%06d,2025-08-26T00:00:04.906404Z,heart_rate,71\n" % n for n in numbers))
    return [b"patient_id,event_time,event_type,value\n", *out]


# A small process in between: what a process has used at the most begins with what its parent had when it was started.
LAUNCHER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - started, usage.ru_maxrss / 1000, os.waitstatus_to_exitcode(status))
"""


def run_command(*arguments: str, **changes: str) -> tuple[float, float]:
    """Run the command; return its seconds, and its peak memory in MB (ru_maxrss, which Linux tells in KB)."""
    command = [sys.executable, "-S", "-c", LAUNCHER, *COMMAND, *arguments]
    done = subprocess.run(command, env={**os.environ, **changes}, capture_output=True, text=True, check=True)
    seconds, memory, code = map(float, done.stdout.split())
    assert code == 0, done.stderr
    return seconds, memory


def command_figures(what: str, *arguments: str, rounds: int = 5, **changes: str) -> None:
    """Print the time and the memory of a command as a user runs it."""
    runs = [run_command(*arguments, **changes) for _ in range(rounds)]
    seconds, memory = (statistics.median(figures) for figures in zip(*runs, strict=True))
    print_figure(what, f"{seconds:.2f} s, {memory:.0f} MB")


def serving() -> Iterator[str]:
    """Run a server while its URL is in use."""
    with subprocess.Popen([*COMMAND, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        stderr: IO[str] = server.stderr  # type: ignore[assignment]
        found = re.search(r"http://\S+", stderr.readline())
        assert found, "the server did not start"
        try:
            yield found.group()
        finally:
            server.terminate()


def main() -> None:
    """Print all figures."""
    native, pure = choose_kernels("native"), choose_kernels("pure")
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}, {native.name}")
    for kernels, rows in ((native, 2_000_000), (pure, 200_000)):
        speed = tally_speed(kernels, mock_chunks(native, rows))
        print_figure(f"tally, {kernels.name}, one core", f"{speed / 1e6:.2f} M rows/s")
    for kernels, rows in ((native, 4_000_000), (pure, 100_000)):
        print_figure(f"generator, {kernels.name}, one core", f"{generator_speed(kernels, rows) / 1e6:.2f} M rows/s")
    chunk = mock_chunks(native, 1)  # one and the same, in the cache as it is in use: 6,000 rows
    for times in (2, 200, 20_000):
        rows = times * chunk[0].count(b"\n")
        print_figure(f"native tally over {rows:,} rows", f"{tally_speed(native, chunk, times) / 1e6:.0f} M rows/s")
    for patients in (20, 1_000, 100_000):
        speed = tally_speed(native, patient_chunks(patients, 1_000_000), 20)
        print_figure(f"native tally, {patients:,} distinct patients", f"{speed / 1e6:.0f} M rows/s")
    command_figures("--version", "--version")
    command_figures("count demo", "count", "demo")
    command_figures("count demo, pure", "count", "demo", MOCKEXPORT_KERNEL="pure")
    command_figures("count small", "count", "small")
    command_figures("count large", "count", "large")
    for url in serving():
        command_figures("count small from our server", "count", "small", "-s", url)
        command_figures("count large from our server", "count", "large", "-s", url, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        command_figures("downloads fetch small", "downloads", "fetch", "small", "--dir", str(Path(folder)))
        command_figures("count small from a folder, SHA-256 checked", "count", "small", "-s", folder)
        for manifest in Path(folder).rglob("manifest.json"):
            manifest.unlink()
        command_figures("count small from a plain folder", "count", "small", "-s", folder)


if __name__ == "__main__":
    main()
