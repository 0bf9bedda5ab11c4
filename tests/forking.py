"""The installed command, forked from a process that has imported it: a process of its own, without the start.

An interpreter that starts and imports takes longer than most commands run. What a test claims of the start itself (what
is imported, what the interpreter reads from its environment) needs a process that starts: see `can_fork`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["can_fork", "close", "run"]

REPOSITORY = Path(__file__).parents[1]
AT_START = ("PYTHON", "LANG", "LC_", "TZ")  # variables that an interpreter reads once
PLAIN = {"PYTHONWARNINGS": "error", "LANG": "C.UTF-8"}
LARGEST = 1 << 17  # bytes of a request


def can_fork(environ: Mapping[str, str]) -> bool:
    """Tell whether a forked process is as good as one that starts with these variables."""
    read_at_start = {name: value for name, value in environ.items() if name.startswith(AT_START)}
    return sys.platform == "linux" and read_at_start == PLAIN


def run(
    arguments: list[str], folder: Path, environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as `subprocess.run` does with these arguments, the name of the command first."""
    server = idle.pop() if idle else Server()  # several threads of a test may run one each
    done = server.run(arguments, folder, environ, timeout)
    idle.append(server)
    return done


def close() -> None:
    """End the processes that commands are forked from."""
    while idle:
        idle.pop().close()


class Server:
    """A process that has imported the command, and forks itself for each run. It runs one at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], **PLAIN},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def run(
        self, arguments: list[str], folder: Path, environ: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        nothing = os.open(os.devnull, os.O_RDONLY)
        (stdout, its_stdout), (stderr, its_stderr) = os.pipe(), os.pipe()
        try:
            request = json.dumps([arguments, str(folder), dict(environ)]).encode()
            socket.send_fds(self._socket, [request], [nothing, its_stdout, its_stderr])
        finally:
            for file in (nothing, its_stdout, its_stderr):
                os.close(file)
        process = int(self._told())
        try:
            said = read_both(stdout, stderr, time.monotonic() + timeout)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(arguments, timeout) from None
        finally:
            os.close(stdout)
            os.close(stderr)
        return subprocess.CompletedProcess(arguments, int(self._told()), *said)

    def _told(self) -> str:
        told = self._socket.recv(LARGEST).decode()
        assert told, "the process that commands are forked from has ended"
        return told

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


idle: list[Server] = []


def read_both(stdout: int, stderr: int, deadline: float) -> list[str]:
    """Read two pipes to their ends, as text."""
    read: dict[int, list[bytes]] = {stdout: [], stderr: []}
    with selectors.DefaultSelector() as selector:
        for pipe in read:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                read[key.fd].append(chunk)
                if not chunk:
                    selector.unregister(key.fd)
    return [b"".join(chunks).decode().replace("\r\n", "\n").replace("\r", "\n") for chunks in read.values()]


def fork_for_each(requests: socket.socket) -> bool:
    """Serve requests to their end. In each forked process, return True with the request's surroundings in place."""
    while True:
        request, files, _, _ = socket.recv_fds(requests, LARGEST, 3)
        if not request:
            return False
        process = os.fork()
        if not process:
            arguments, folder, environ = json.loads(request)
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environ)
            sys.argv = arguments
            return True
        for file in files:
            os.close(file)
        requests.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    import mockexport.__main__
    from mockexport import cli

    for module in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}."):
        importlib.import_module(module.name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        is_forked = fork_for_each(requests)
    if is_forked:
        script = ModuleType("__main__")  # which tells its name, and which worker processes of the command run
        script.__file__ = sys.argv[0]
        sys.modules["__main__"] = script
        sys.path[0] = str(Path(sys.argv[0]).parent)
        mockexport.__main__.main()
