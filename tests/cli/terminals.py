"""Runs of the command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

from tests.cli.conftest import COMMAND, WIDTH, environment

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60


def on_a_terminal(
    workplace: Path,
    *arguments: str,
    width: int = WIDTH,
    height: int = 1000,
    answer: tuple[bytes, bytes] = (b"", b""),
    **changes: str,
) -> tuple[int, str]:
    """Run the command on a terminal of this size; return its exit code and all that it showed.

    `answer` is what to wait for, and which keys to press then.
    """
    prompt, keys = answer
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    env = {**environment(**changes), "TERM": changes.get("TERM", "xterm-256color")}
    del env["COLUMNS"]
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=workplace, env=env, stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a pager reads from /dev/tty
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
        if keys and prompt in shown:
            os.write(ours, keys)
            keys = b""
    os.close(ours)
    return process.wait(timeout=10), shown.decode().replace("\r\n", "\n")
