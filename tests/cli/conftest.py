"""The installed command, run as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tests import forking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mockexport")
WIDTH = 100


def environment(**changes: str) -> dict[str, str]:
    """The environment of a plain terminal; of ours only the choice of kernels is kept."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "MOCKEXPORT_KERNEL") if name in os.environ
    }
    return {**kept, "COLUMNS": str(WIDTH), "PYTHONWARNINGS": "error", "LANG": "C.UTF-8", **changes}


def run_to_end(
    folder: Path, arguments: Iterable[object], changes: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end in a folder: forked where that is as good, which takes half of the time."""
    command, environ = [COMMAND, *map(str, arguments)], environment(**changes)
    if forking.can_fork(environ):
        return forking.run(command, folder, environ, timeout)
    return subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True)
class Finished:
    """How a run of the command ended."""

    code: int
    stdout: str
    stderr: str


class RunCommand(Protocol):
    """Runs the command to its end."""

    def __call__(self, *arguments: object, **changes: str) -> Finished: ...


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """The folder in which the command runs."""
    return tmp_path


@pytest.fixture
def command(workplace: Path) -> RunCommand:
    """Run `mockexport` with these arguments, and environment variables by name."""

    def run(*arguments: object, **changes: str) -> Finished:
        done = run_to_end(workplace, arguments, changes, timeout=120)
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start(workplace: Path) -> Any:
    """Start `mockexport` and return the process; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        changes = options.pop("env", {})
        process: subprocess.Popen[str] = subprocess.Popen(
            [COMMAND, *map(str, arguments)], cwd=workplace, env=environment(**changes), **options
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr, process.stdin):
            if stream:
                stream.close()


def write_export(root: Path, export: str, **downloads: str | bytes) -> Path:
    """Make a folder of exports with one export in it."""
    folder = root / export
    folder.mkdir(parents=True)
    for name, body in downloads.items():
        (folder / f"{name}.csv").write_bytes(body if isinstance(body, bytes) else body.encode())
    return root
