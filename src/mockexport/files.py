"""Files on disk: written atomically, locked while they are written, and durable.

The temporary file for NAME is `.NAME.RANDOM.tmp` in the same folder. It is locked while it is written: one that can be
locked was left by a run that was killed, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable

__all__ = [
    "append_line",
    "drop_half_line",
    "locked",
    "make_folder",
    "open_locked",
    "remove_leftovers",
    "spooled",
    "sync_folder",
    "write_atomically",
    "write_new",
]

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)
RANDOM_BYTES = 8
TAIL_BYTES = 1 << 16
SPOOLED_IN_MEMORY = 1 << 20  # bytes
LOCKED_BYTE = (1 << 31) - 1  # Windows locks bytes, against readers too: one that few files reach
# Flags that not every system has, or needs.
BINARY = getattr(os, "O_BINARY", 0)  # or Windows translates line ends
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # or opening a FIFO waits for its other end


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, with these permissions, and its missing parents. All are on disk on return. Raises OSError.

    Existing folders are fsynced as well, up to the root of the file system: a run that was killed may have made them.
    """
    folder.mkdir(mode, parents=True, exist_ok=True)
    device = folder.stat().st_dev
    for level in (folder, *folder.absolute().parents):
        with contextlib.suppress(PermissionError):  # then it belongs to others, and was there before
            if level.stat().st_dev != device:
                break
            sync_folder(level)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk (fsync), where the system can. Raises OSError."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_regular(descriptor: int, path: Path) -> None:
    """Raise OSError for a folder, a FIFO or a device."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, follow_link: bool = True) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename, fsync of the folder.

    A symbolic link is followed, and a device or a FIFO is written to directly. Without `follow_link`, for folders that
    others may write to, all of these are replaced by a file instead. Raises UsageError if the file can't be written.
    """
    try:
        mode = mode_of(path, follow_link=follow_link)
        if mode is not None and not stat.S_ISREG(mode):
            if follow_link:  # opened by this name: the target of /dev/stdout may have no path
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


def write_new(path: Path, data: bytes) -> bool:
    """Write a file whole unless there is one; return whether it was written. Of several at once, exactly one writes it.

    Raises UsageError if the file can't be written, also where the file system has no hard links.
    """
    try:
        with _temporary_file(path, None) as (file, temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # an open file can't be removed there
                file.close()
            try:
                os.link(temporary, path)  # unlike a rename, it fails if there is a file
            except FileExistsError:
                return False
            except OSError as error:
                raise UsageError(
                    f"cannot make a hard link at {path}: {error.strerror}; choose a file system that has them"
                ) from error
            finally:
                temporary.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return True


@contextlib.contextmanager
def spooled(data: bytes | Iterable[bytes]) -> Generator[Iterable[bytes], None, None]:
    """Collect all the data before any of it is written, in a temporary file if it is large. Raises UsageError."""
    if isinstance(data, bytes):
        yield [data]
        return
    import tempfile  # brings others along

    with tempfile.SpooledTemporaryFile(SPOOLED_IN_MEMORY) as file:
        for chunk in data:
            try:
                file.write(chunk)
            except OSError as error:
                raise UsageError(
                    f"cannot write a temporary file: {error.strerror}; set TMPDIR to a folder with more room"
                ) from error
        file.seek(0)
        yield iter(partial(file.read, SPOOLED_IN_MEMORY), b"")


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file in one write, so that lines of several threads and processes never mix. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NOFOLLOW | NONBLOCK | BINARY, 0o666)
    try:
        check_regular(descriptor, path)
        if os.write(descriptor, line + b"\n") <= len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def drop_half_line(path: Path) -> None:
    """Cut a file behind its last whole line: a run that was killed may have left a part of one. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | NOFOLLOW | NONBLOCK | BINARY)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+b") as file:
        check_regular(descriptor, path)
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            end = start if place < 0 else start + place + 1
            if place >= 0:
                break
        if end < size:
            file.truncate(end)


def mode_of(path: Path, *, follow_link: bool = True) -> int | None:
    """Return the type and permissions (`st_mode`) of a file, None if it does not exist. Raises OSError."""
    try:
        return path.stat(follow_symlinks=follow_link).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def _temporary_file(target: Path, mode: int | None) -> Generator[tuple[IO[bytes], Path], None, None]:
    """Create a temporary file for a target, with these permissions; remove it if the block fails."""
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
    """Lock a new temporary file; return False if another run has meanwhile removed it as a leftover."""
    try:
        return _lock(descriptor) and _is_at(descriptor, path)
    except OSError:  # a file system without locks: no other run can lock and remove it either
        return True


def remove_leftovers(folder: Path, names: Container[str]) -> None:
    """Remove temporary files for these names that killed runs left behind. Best effort."""
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


def open_locked(path: Path, busy: str, mode: int = 0o666, *, shared: bool = False) -> IO[bytes]:
    """Open a file for reading and writing, create it if need be, and lock it until it is closed.

    The content is left as it is. A symbolic link is not followed. If another run renames or removes the file meanwhile,
    a new one is created. Raises UsageError with the text `busy` if another process has locked the file, and OSError.
    Processes that all lock it `shared` can do so at the same time, except on Windows.
    """
    while True:
        descriptor = _open(path, mode)
        try:
            check_regular(descriptor, path)
            free = _lock(descriptor, shared=shared)
            if free and _is_at(descriptor, path):
                return os.fdopen(descriptor, "r+b")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not free:
            raise UsageError(busy)


def _open(path: Path, mode: int) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW | NONBLOCK | BINARY, mode)
    except OSError as error:
        if path.is_symlink():  # for which the system's message is of no help
            raise OSError(error.errno, "it is a symbolic link, which is not followed", str(path)) from error
        raise


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Generator[None, None, None]:
    """Hold a lock file during the block, and remove it afterwards; one that a killed run left is taken over.

    Raises UsageError: with the text `busy` if another process holds it, and if it can't be written.
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


def _lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock a file until it is closed; return False if another process has locked it. Raises OSError without locks."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(descriptor: int) -> bool:
    import msvcrt

    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except PermissionError:
        return False
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has this name: another run may have renamed it before it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
