"""One name is one version of the bytes: what tells two versions apart, and what does not.

The rule for all that is read under a name, by files, HTTP, checkpoints, manifests and splits alike:

- A local file is compared when it is opened, at its end and after each split: device, inode, size, and the times of
  its last change in nanoseconds. One that changed is a `ChangedError`; it is not read again.
- Over HTTP only a strong ETag names the bytes (RFC 9110, section 8.8.1). A weak one that differs shows a change, one
  that is the same shows nothing. A date is no name: two versions may be of the same second (RFC 9110, sections 8.8.2.2
  and 13.1.5).
- Bytes of two answers are joined, and kept work is used again, only under one strong ETag. Without one, what was read
  is dropped and the whole is read from its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from mockexport.errors import ChangedError

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["WEAK", "FileVersion", "is_strong", "may_be_same"]

WEAK = "W/"


class FileVersion(NamedTuple):
    """One version of a local file; a file with other bytes has another one."""

    device: int
    inode: int
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    changed: int  # nanoseconds since 1970; unlike `modified`, no program can set it back

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the version that `os.stat` or `os.fstat` saw."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def etag(self) -> str:
        """The version as a strong ETag; without the device, whose number differs from host to host."""
        return f"{self.inode:x}-{self.size:x}-{self.modified:x}-{self.changed:x}"

    def check(self, now: Self, path: Path) -> None:
        """Raise ChangedError when a file that was of this version is of another one now."""
        if now != self:
            raise ChangedError(f"{path} changed while it was read; try again when nothing writes to it")


def is_strong(etag: str | None) -> bool:
    """Tell whether an ETag names the very bytes: there is one, and it is not weak (RFC 9110, section 8.8.1)."""
    return bool(etag) and not str(etag).startswith(WEAK)


def may_be_same(known: str | None, found: str | None) -> bool:
    """Tell whether two answers may be of one version: the same ETag, or neither has one.

    Only where `is_strong` holds as well is it certain.
    """
    return (known or None) == (found or None)
