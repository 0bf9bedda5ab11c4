"""Sources that behave elsewhere otherwise than here. The workers import this module."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.sources import EXPORT, HEADER, ROW, MemorySource

from mockexport import Download, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.source import Chunks


@dataclass
class HereAlone(MemorySource):
    """Elsewhere it isn't there; or there, but another one."""

    elsewhere: Sequence[str] | None = None
    home: int = field(default_factory=os.getpid)

    def exports(self) -> Sequence[str]:
        if os.getpid() == self.home:
            return [EXPORT]
        if self.elsewhere is None:
            raise NotFoundError(f"no folder {self.name}")
        return self.elsewhere


class Deadly(MemorySource):
    """Whoever reads it dies."""

    def open(self, download: Download, offset: int = 0) -> Chunks:
        del download, offset
        os._exit(1)


class Faulty(MemorySource):
    """Whoever reads it meets a bug."""

    def open(self, download: Download, offset: int = 0) -> Chunks:
        raise LookupError(f"{download.id} at {offset}")


class Endless(MemorySource):
    """Its downloads have no end."""

    def open(self, download: Download, offset: int = 0) -> Chunks:
        del download, offset
        yield HEADER
        while True:
            yield ROW * 1000
