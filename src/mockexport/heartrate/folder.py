"""The folder that a service calls its own: marked by what it holds, and locked while it is in use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARKER", "Lock", "check_marker", "is_heart_rate_folder", "make_folder"]

MARKER = "heartrate.json"
LOCK = "lock"
FORMAT = 1


def is_heart_rate_folder(folder: Path) -> bool:
    """Tell whether a folder holds heart-rate data, of whatever format."""
    return (folder / MARKER).is_file()


def check_marker(folder: Path, table: str) -> None:
    """Raise UsageError where a folder is of another format or table, or of none; UntrustedDataError for damage."""
    path = folder / MARKER
    try:
        marker = orjson.loads(path.read_bytes())
        found, named = marker["format"], marker["table"]
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no heart-rate data; name a folder that does") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UntrustedDataError(f"{path} is damaged; put back what it was") from None
    if found != FORMAT:
        raise UsageError(
            f"{folder} is of heart-rate format {found}; this version reads {FORMAT}: "
            "choose another folder, or open it with the version that wrote it"
        )
    if named != table:
        raise UsageError(f"the journal in {folder} belongs to the table {named}; choose another folder for {table}")


def make_folder(folder: Path, table: str) -> Lock:
    """Lock a folder, and make and mark it first where it is new; raise UsageError where that can't be done."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if path.name != LOCK and not path.name.startswith(".")]
        if others and MARKER not in others:
            raise UsageError(f"{folder} holds other things; choose a new folder for heart-rate data")
        lock = Lock(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        if not is_heart_rate_folder(folder):
            write_atomically(folder / MARKER, orjson.dumps({"format": FORMAT, "table": table}) + b"\n")
            (folder / MARKER).chmod(0o600)
        check_marker(folder, table)
    except BaseException:
        lock.release()
        raise
    return lock


class Lock:
    """Keeps every other process out of a folder until it is released, or this process ends.

    Raises UsageError when another has it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as error:
            self.release()
            raise UsageError(
                f"{folder} is in use by another process; stop that one, or choose another folder"
            ) from error

    def release(self) -> None:
        """Let others in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
