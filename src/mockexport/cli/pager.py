"""Long tables in a pager, as git shows its own output."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess

from mockexport.settings import pager_environment

__all__ = ["page"]


def page(data: bytes, command: str) -> bool:
    """Show text in a pager if it is longer than the screen; tell whether it was shown."""
    if data.count(b"\n") < shutil.get_terminal_size().lines:
        return False
    try:
        pager = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, env=pager_environment())  # noqa: S603
    except (OSError, ValueError):  # there is no such program, or a quote is not closed
        return False
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
    try:
        pager.communicate(data)
    except BaseException:
        pager.terminate()
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    return pager.returncode == 0
