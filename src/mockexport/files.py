"""Files on disk: written whole or not at all, locked while they are written, and still there after a power cut.

A temporary file is called `.NAME.RANDOM.tmp`, beside the file NAME that it will be, and is locked for as long as it is
written. So one that can be locked belongs to a run that was killed, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable

__all__ = [
    "locked",
    "make_folder",
    "open_locked",
    "read_file",
    "remove_leftovers",
    "spooled",
    "sync_folder",
    "write_atomically",
]

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)
RANDOM_BYTES = 8
WAITS_IN_MEMORY = 1 << 20  # bytes of an answer that comes in chunks
# What not every system has, or needs.
BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each of them on disk when this returns. Raises OSError."""
    missing = []
    existing = folder.absolute()
    while not existing.exists():
        missing.append(existing)
        existing = existing.parent
    with contextlib.suppress(PermissionError):  # perhaps a run that was killed made it just now; else it is not ours
        sync_folder(existing.parent)
    for level in reversed(missing):
        level.mkdir(exist_ok=True)
        sync_folder(level)
        sync_folder(level.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes:
    """Read a whole file. Raises OSError; for a pipe or a device too, which might never end."""
    descriptor = os.open(path, os.O_RDONLY | NONBLOCK | BINARY)
    try:
        check_regular(descriptor, path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def check_regular(descriptor: int, path: Path) -> None:
    """Raise OSError for a folder, a pipe or a device."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, follow_link: bool = True) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.

    A symbolic link is followed, and a device or a pipe is written to as it is; without `follow_link`, where others may
    write to the folder, each of them is replaced instead. Raises UsageError when the file can't be written.
    """
    try:
        mode = mode_of(path, follow_link=follow_link)
        if mode is not None and not stat.S_ISREG(mode):
            if follow_link:  # opened as it is called: what /dev/stdout leads to has no path
                with spooled(data) as chunks, path.open("wb") as file:
                    file.writelines(chunks)
                return
            mode = None
        target = Path(os.path.realpath(path)) if follow_link else path
        with _temporary_file(target, None if mode is None else stat.S_IMODE(mode)) as (file, temporary):
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # an open file can't be renamed there
                file.close()
            temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def spooled(data: bytes | Iterable[bytes]) -> Generator[Iterable[bytes], None, None]:
    """Take in all that is to be written before any of it is written; what is large waits in a temporary file."""
    if isinstance(data, bytes):
        yield [data]
        return
    with tempfile.SpooledTemporaryFile(WAITS_IN_MEMORY) as file:
        for chunk in data:
            try:
                file.write(chunk)
            except OSError as error:
                raise UsageError(
                    f"cannot write a temporary file: {error.strerror}; set TMPDIR to a folder with more room"
                ) from error
        file.seek(0)
        yield iter(partial(file.read, WAITS_IN_MEMORY), b"")


def mode_of(path: Path, *, follow_link: bool = True) -> int | None:
    """Return what kind of file a path leads to, and its permissions; None when there is nothing yet. Raises OSError."""
    try:
        return path.stat(follow_symlinks=follow_link).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def _temporary_file(target: Path, mode: int | None) -> Generator[tuple[IO[bytes], Path], None, None]:
    """Make a temporary file for a target, with these permissions; it is removed if the block fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | BINARY
    while True:
        path = target.with_name(f".{target.name}.{os.urandom(RANDOM_BYTES).hex()}.tmp")
        with os.fdopen(os.open(path, flags, 0o666 if mode is None else 0o600), "wb") as file:
            if not _is_ours(file.fileno(), path):
                continue
            try:
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                yield file, path
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return


def _is_ours(descriptor: int, path: Path) -> bool:
    """Lock a new temporary file; tell whether that was done before another run could take it for a leftover."""
    try:
        return _lock(descriptor) and _is_at(descriptor, path)
    except OSError:  # this file system has no locks; then no other run takes it for one either
        return True


def remove_leftovers(folder: Path, names: Container[str]) -> None:
    """Remove the temporary files of runs that were killed while they wrote files of these names; best effort."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = TEMPORARY.fullmatch(path.name)
            if found and found[1] in names:
                _remove_if_unlocked(path)


def _remove_if_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | NOFOLLOW | NONBLOCK)
        try:
            check_regular(descriptor, path)
            if _lock(descriptor) and _is_at(descriptor, path):
                path.unlink()
        finally:
            os.close(descriptor)


def open_locked(path: Path, busy: str) -> IO[bytes]:
    """Open a file, made if need be, to read and change it, with nothing in it changed yet; others are locked out.

    A file that another run renames or removes meanwhile is left to it. A symbolic link is not followed. Raises
    UsageError with the text `busy` when another run has the file, and OSError.
    """
    while True:
        descriptor = _open(path)
        try:
            check_regular(descriptor, path)
            free = _lock(descriptor)
            if free and _is_at(descriptor, path):
                return os.fdopen(descriptor, "r+b")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not free:
            raise UsageError(busy)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW | NONBLOCK | BINARY, 0o666)
    except OSError as error:
        if path.is_symlink():  # what the system says of it tells nobody anything
            raise OSError(error.errno, "a symbolic link, which is not followed", str(path)) from error
        raise


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Generator[None, None, None]:
    """Hold a lock file, which goes with the block; one that a killed run left is taken over.

    Raises UsageError: with the text `busy` when another run holds it, and when it can't be written.
    """
    try:
        file = open_locked(path, busy)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed, where the system can; tell whether no other run has it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file still has this name: between opening and locking it may have lost it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
