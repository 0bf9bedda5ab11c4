"""A terminal of a given size, with a program on it, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

from tests.cli.conftest import environment
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class OnTerminal:
    """Runs a program on a terminal of its own; it is killed with the block."""

    def __init__(
        self, program: list[str], folder: Path, changes: Mapping[str, str] | None = None, *, width: int = 80
    ) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        env = {**environment(), "TERM": "xterm-256color", **(changes or {})}
        del env["COLUMNS"]  # the terminal's own width
        opens_its_terminal = ["sh", "-c", 'exec "$@" <>"$0" >"$0" 2>&1', os.ttyname(theirs)]  # which makes it its own
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [*opens_its_terminal, *program],
            cwd=folder,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until a text is shown that was not there before."""
        seen, deadline = len(self.shown), time.monotonic() + WAIT_SECONDS
        while text not in self.shown[seen:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown[seen:]!r}"
            assert self._read(), f"ended without {text!r}: {self.shown!r}"

    def wait_for_match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Read until a pattern is in what was shown, without its colours."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := pattern.search(CONTROL.sub("", self.shown))):
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown
        return found

    def end(self) -> int:
        """Read until the program has ended; return its exit code."""
        while self._read():
            pass
        return self.process.wait(WAIT_SECONDS)

    def lines(self) -> list[str]:
        """All lines that were shown, and shown again, without their colours."""
        return re.split(r"[\r\n]+", CONTROL.sub("", self.shown))

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], WAIT_SECONDS)[0]:
            return False
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
