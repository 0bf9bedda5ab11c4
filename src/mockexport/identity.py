"""Identity: what is read under one name is one version of the bytes.

The rule holds for files, HTTP, checkpoints, manifests and splits:

- A local file is compared when it is opened, at its end and after each split, by device, inode, size, and mtime and
  ctime in nanoseconds. If it changed, that is a `ChangedError`; it is not read again.
- Over HTTP only a strong ETag identifies the bytes (RFC 9110, section 8.8.1). If a weak one differs, they changed; if
  it is equal, they may still have changed. A Last-Modified date is no identity: two versions may be of the same second
  (RFC 9110, sections 8.8.2.2 and 13.1.5).
- Parts of two responses are combined, and saved results are used, only under one strong ETag. Without one, what was
  read is dropped, and the whole is read from its start.
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
    """The version of a local file. It differs for other bytes."""

    device: int
    inode: int
    size: int  # bytes
    modified: int  # nanoseconds since 1970
    changed: int  # nanoseconds since 1970; unlike `modified`, no program can set it back

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the version in a result of `os.stat` or `os.fstat`."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def etag(self) -> str:
        """The version as a strong ETag, without quotes and without the device, whose number differs between hosts."""
        return f"{self.inode:x}-{self.size:x}-{self.modified:x}-{self.changed:x}"

    def check(self, now: Self, path: Path) -> None:
        """Raise ChangedError if the version is another one `now`."""
        if now != self:
            raise ChangedError(f"{path} changed while it was read; try again when nothing writes to it")


def is_strong(etag: str | None) -> bool:
    """Return whether an ETag identifies the bytes: there is one, and it is not weak (RFC 9110, section 8.8.1)."""
    return bool(etag) and not str(etag).startswith(WEAK)


def may_be_same(known: str | None, found: str | None) -> bool:
    """Return whether two responses may have the same version: the same ETag, or none.

    It is certain only if the ETag is strong, too.
    """
    return (known or None) == (found or None)
