"""The folder of a heart-rate service: marked by a file that says what it holds, and locked while it is in use."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, NamedTuple

import orjson

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.files import make_folder, open_locked, write_atomically, write_new

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JOURNAL", "MARKER", "OWNER_ONLY", "Marker", "claim_folder", "is_heart_rate_folder", "is_url", "read_marker"]

MARKER = "heartrate.json"
LOCK = "lock"
JOURNAL = "journal.sqlite"
FORMAT = 1
OWNER_ONLY = 0o700  # permissions of the folders: heart-rate data is private


class Marker(NamedTuple):
    """The content of the file that marks a folder.

    `table` is where the readings are stored: a folder or a URL. A data folder also names its journal: `journal` is
    the random id that the journal got when it was created, and `journal_folder` is where it was last: a folder, the URL
    of a database, or None for the data folder itself. `journal` is None until the journal exists, and in folders that
    older versions wrote.
    """

    table: str
    journal: str | None = None
    journal_folder: str | None = None

    def write(self, folder: Path) -> None:
        """Mark a folder; the file is on disk on return. Raises UsageError if it can't be written."""
        write_atomically(folder / MARKER, self._content())
        (folder / MARKER).chmod(0o600)

    def write_new(self, folder: Path) -> None:
        """Mark a folder unless another server has just done so; the file is on disk on return. Raises UsageError."""
        if write_new(folder / MARKER, self._content()):
            (folder / MARKER).chmod(0o600)

    def _content(self) -> bytes:
        document = {"format": FORMAT, **{name: value for name, value in self._asdict().items() if value is not None}}
        return orjson.dumps(document) + b"\n"


def is_heart_rate_folder(folder: Path) -> bool:
    """Return whether a folder holds heart-rate data, of any format."""
    return (folder / MARKER).is_file()


def read_marker(folder: Path) -> Marker:
    """Read a folder's marker.

    Raises UsageError if there is none or it is of another format, UntrustedDataError if it is damaged.
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
        raise UntrustedDataError(f"{path} is damaged; restore it from a backup") from None
    if found != FORMAT:
        raise UsageError(
            f"{folder} has the heart-rate format {found}, and this version reads {FORMAT}: "
            "choose another folder, or open it with the version that wrote it"
        )
    if not all(isinstance(value, str | None) for value in marker):
        raise UntrustedDataError(f"{path} is damaged; restore it from a backup")
    return marker


def claim_folder(folder: Path, table: str, *, shared: bool = False) -> IO[bytes]:
    """Lock a folder until the returned file is closed; make and mark it first if it is new. Raises UsageError.

    Processes that all lock it `shared` can do so at the same time. They mark a new one by `Marker.write_new`.
    """
    try:
        make_folder(folder, OWNER_ONLY)
        others = {path.name for path in folder.iterdir() if path.name != LOCK and not path.name.startswith(".")}
        if MARKER not in others and any(not name.startswith(JOURNAL) for name in others):  # a journal may be moved here
            raise UsageError(f"{folder} holds other files; choose a new folder for heart-rate data")
        busy = f"{folder} is in use by another process; stop that one, or choose another folder"
        lock = open_locked(folder / LOCK, busy, 0o600, shared=shared)
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        if is_heart_rate_folder(folder):
            read_marker(folder)
        elif not shared:
            Marker(table).write(folder)
    except BaseException:
        lock.close()
        raise
    return lock


def is_url(data: str | Path) -> bool:
    """Return whether `data` is a URL and not a folder."""
    return "://" in str(data)
