"""The files in the folder of a table that no version has any more, deleted after some time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["UnusedFiles"]


class UnusedFiles:
    """The unused files of a table's folder, and since when they have been unused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._since: dict[str, float] = {}

    def delete(self, used: Callable[[], set[str]], grace: float) -> None:
        """Delete the files that have been unused for `grace` seconds.

        `used` is called after they were looked for: each file that was found is in use then, or never will be.
        """
        found = {path.relative_to(self._folder).as_posix(): path for path in self._folder.glob("date=*/*.parquet")}
        in_use, now = used(), time.monotonic()
        self._since = {name: self._since.get(name, now) for name in found if name not in in_use}
        for name, since in list(self._since.items()):
            if now - since >= grace:
                found[name].unlink(missing_ok=True)
                del self._since[name]
