"""Long tables in a pager, as git shows its own output."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from mockexport.settings import DEFAULT_PAGER, pager_environment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["page"]


def page(data: bytes, command: str, note: Callable[[str], None]) -> bool:
    """Show text in a pager if it is longer than the screen; tell whether it was shown.

    A `note` says that a pager that the user has named cannot be run.
    """
    if data.count(b"\n") < shutil.get_terminal_size().lines:
        return False
    try:
        pager = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, env=pager_environment())  # noqa: S603
    except (OSError, ValueError) as error:  # there is no such program, or a quote is not closed
        if command != DEFAULT_PAGER:
            note(f"PAGER: cannot run {command!r}: {getattr(error, 'strerror', None) or str(error).lower()}")
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
