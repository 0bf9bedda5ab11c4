"""Run a command in a process of its own; tell its time, its peak memory and what it wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHILD", "OURS", "ROOT", "Run", "environment", "installed", "launch", "launch_timed_inside"]

ROOT = Path(__file__).parents[2]
CHILD = [sys.executable, "-m"]
OURS = [shutil.which("mockexport", path=str(Path(sys.executable).parent)) or "mockexport"]
TIMEOUT_SECONDS = 300

# A small process in between: what a process has used at the most begins with what its parent had when it was started.
LAUNCHER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
print(seconds, usage.ru_maxrss / 1000, os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds; the peak memory in MB (ru_maxrss, which Linux tells in KB) of its largest process; and stdout."""

    seconds: float
    memory: float
    output: str


def environment(**changes: str) -> dict[str, str]:
    """Ours, without what would change the work: proxies, our own settings and Python's (byte code is to be kept)."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MOCKEXPORT_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return kept | changes


def launch(*command: object, **changes: str) -> Run:
    """Run a command to its end. Raises RuntimeError when it fails."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *map(str, command)],
        env=environment(**changes),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    output, _, figures = done.stdout.rstrip("\n").rpartition("\n")
    if done.returncode or not figures.endswith(" 0"):
        raise RuntimeError(f"{' '.join(map(str, command))[:200]} failed: {done.stderr[-2000:]}")
    seconds, memory, _ = map(float, figures.split())
    return Run(seconds, memory, output)


def launch_timed_inside(*command: object, **changes: str) -> Run:
    """Run a command whose first line tells the seconds that count, without its start-up."""
    run = launch(*command, **changes)
    seconds, _, output = run.output.partition("\n")
    return Run(float(seconds), run.memory, output)


def installed(program: str) -> str:
    """Return why a program can't take part: nothing when it can."""
    return "" if shutil.which(program) else f"{program} is not installed"
