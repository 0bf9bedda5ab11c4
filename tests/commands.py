"""The installed command in processes of its own: servers for the tests of clients, and runs that are killed."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.cli.conftest import COMMAND, environment, run_to_end
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LISTENING = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True)
class Serving:
    """A server that accepts."""

    url: str
    process: subprocess.Popen[str]
    told: list[str]

    def answered(self, status: int) -> int:
        """How often it has answered so; it must be verbose."""
        return sum(line.rstrip().endswith(f'HTTP/1.1" {status}') for line in self.told)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def serve_command(*arguments: object, program: tuple[str, ...] = (COMMAND,), **changes: str) -> Iterator[Serving]:
    """Run `mockexport serve` on a free port, unless the arguments name one."""
    process = subprocess.Popen(
        [*program, "serve", "--port", "0", *map(str, arguments)],
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    urls: SimpleQueue[str] = SimpleQueue()
    told: list[str] = []

    def listen() -> None:  # to the end, or the server would stop at a full pipe
        assert process.stderr
        for line in process.stderr:
            told.append(line)
            for url in LISTENING.findall(line):
                urls.put(url)
        urls.put("")  # it has ended

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        url = urls.get(timeout=WAIT_SECONDS)
        assert url, "".join(told)
        yield Serving(url, process, told)
    finally:
        process.kill()
        process.wait()
        listener.join(WAIT_SECONDS)
        assert process.stderr
        process.stderr.close()


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it said."""

    code: int
    stdout: str
    stderr: str


def run_command(folder: Path, *arguments: object, program: tuple[str, ...] = (COMMAND,), **changes: str) -> Ended:
    """Run the command to its end in a folder."""
    if program == (COMMAND,):
        done = run_to_end(folder, arguments, changes, timeout=WAIT_SECONDS * 4)
        return Ended(done.returncode, done.stdout, done.stderr)
    with started(folder, *arguments, program=program, session=False, **changes) as process:
        stdout, stderr = process.communicate(timeout=WAIT_SECONDS * 4)
        return Ended(process.returncode, stdout, stderr)


@contextmanager
def started(
    folder: Path, *arguments: object, program: tuple[str, ...] = (COMMAND,), session: bool = False, **changes: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the command in a folder, if need be in a session of its own; it is killed with the block."""
    with subprocess.Popen(
        [*program, *map(str, arguments)],
        cwd=folder,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=session,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_while_running(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait until a condition holds, or the process has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)
