"""The bearer token that `--token-file` names."""

from __future__ import annotations

import os
import select
import stat
import time
from typing import TYPE_CHECKING

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.place import read_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_token"]

MAX_BYTES = 1 << 16  # of a pipe
PIPE_SECONDS = 30.0  # for whoever writes to a pipe: a password manager may ask for its own password


def read_token(option: Path | None, variable: Path | None) -> str | None:
    """Read a bearer token from the first line of a file, or of a pipe such as that of the shell's `<(command)`.

    The file is named by the option or else by the environment. Raises UsageError, which never shows the content.
    """
    path, origin = (option, "--token-file") if option else (variable, "MOCKEXPORT_TOKEN_FILE")
    if path is None:
        return None
    try:
        content = _read_pipe(path, origin) if stat.S_ISFIFO(path.stat().st_mode) else read_whole(path)
        token = content.decode("ascii").partition("\n")[0].strip()
    except UntrustedDataError as error:
        raise UsageError(f"cannot use {origin}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise UsageError(f"cannot read {origin} {path}: {reason}") from None
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"{origin} {path} has no token on its first line")
    return token


def _read_pipe(path: Path, origin: str) -> bytes:
    """Read the first line of a pipe; nothing if no one has it open for writing."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    deadline = time.monotonic() + PIPE_SECONDS
    content = b""
    try:
        while b"\n" not in content and len(content) < MAX_BYTES:
            try:
                chunk = os.read(descriptor, MAX_BYTES)
            except BlockingIOError:  # it will be written to
                if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise UsageError(f"{origin} {path} gave nothing within {PIPE_SECONDS:g} s") from None
                continue
            if not chunk:
                break
            content += chunk
    finally:
        os.close(descriptor)
    return content
