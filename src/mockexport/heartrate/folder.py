"""The folder that a service calls its own: marked by what it holds, and locked while it is in use."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

import orjson

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.files import sync_folder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JOURNAL", "MARKER", "Lock", "Marker", "claim_folder", "is_heart_rate_folder", "make_folder", "read_marker"]

MARKER = "heartrate.json"
LOCK = "lock"
JOURNAL = "journal.sqlite"
FORMAT = 1


class Marker(NamedTuple):
    """What the file says that marks a folder.

    `table` is where the readings go: a folder, or a URL. A data folder also names its journal: by the id that the
    journal was given at random when it was made, and by the folder where it was last, None being the data folder
    itself. `journal` is None until the journal has been made, and in folders that older versions wrote.
    """

    table: str
    journal: str | None = None
    journal_folder: str | None = None

    def write(self, folder: Path) -> None:
        """Mark a folder; it is on disk when this returns. Raises UsageError where that can't be done."""
        document = {"format": FORMAT, **{name: value for name, value in self._asdict().items() if value is not None}}
        write_atomically(folder / MARKER, orjson.dumps(document) + b"\n")
        (folder / MARKER).chmod(0o600)


def is_heart_rate_folder(folder: Path) -> bool:
    """Tell whether a folder holds heart-rate data, of whatever format."""
    return (folder / MARKER).is_file()


def read_marker(folder: Path) -> Marker:
    """Return what marks a folder.

    Raises UsageError where it is of another format, or nothing marks it; UntrustedDataError for damage.
    """
    path = folder / MARKER
    try:
        document = orjson.loads(path.read_bytes())
        found = document["format"]
        marker = Marker(document["table"], document.get("journal"), document.get("journal_folder"))
    except FileNotFoundError:
        raise UsageError(f"{folder} holds no heart-rate data; name a folder that does") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise UntrustedDataError(f"{path} is damaged; put back what it was") from None
    if found != FORMAT:
        raise UsageError(
            f"{folder} is of heart-rate format {found}; this version reads {FORMAT}: "
            "choose another folder, or open it with the version that wrote it"
        )
    if not all(isinstance(value, str | None) for value in marker):
        raise UntrustedDataError(f"{path} is damaged; put back what it was")
    return marker


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there are none; all of them are on disk when this returns.

    Folders that exist are put on disk as well: a process that was killed may have made them and no more.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for above in [folder, *folder.absolute().parents]:
        with contextlib.suppress(PermissionError):  # then it isn't ours, and was there before
            sync_folder(above)


def claim_folder(folder: Path, table: str) -> Lock:
    """Lock a folder, and make and mark it first where it is new. Raises UsageError where that can't be done."""
    try:
        make_folder(folder)
        others = {path.name for path in folder.iterdir() if path.name != LOCK and not path.name.startswith(".")}
        if MARKER not in others and any(not name.startswith(JOURNAL) for name in others):  # a journal may be moved here
            raise UsageError(f"{folder} holds other things; choose a new folder for heart-rate data")
        lock = Lock(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        if not is_heart_rate_folder(folder):
            Marker(table).write(folder)
        read_marker(folder)
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
