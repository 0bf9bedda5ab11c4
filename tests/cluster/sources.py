"""Sources that behave elsewhere otherwise than here. The workers import this module."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, MemorySource

from mockexport import Download, NotFoundError
from mockexport.tally import TallySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.pipeline.progress import TaskProgress
    from mockexport.source import Chunks, Source


PATIENTS = tuple(f"P{number:03}" for number in range(20))


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

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        del download, offset
        os._exit(1)


class Faulty(MemorySource):
    """Whoever reads it meets a bug."""

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        raise LookupError(f"{download.id} at {offset}")


@dataclass
class Watched(MemorySource):
    """Its downloads come to an end once somebody has seen how far they are, and made a file of that name."""

    seen: str = ""

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        first, *rest = super().open(download, offset)
        yield first
        deadline = time.monotonic() + WAIT_SECONDS
        while not Path(self.seen).exists():
            assert time.monotonic() < deadline, "nobody has seen it"
            time.sleep(0.01)
            if len(rest) > 1:
                yield rest.pop(0)
        yield from rest


class Waiting(Watched):
    """Its server is busy, until somebody has seen that."""

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        watch["on_retry"](2.5, True)
        return super().open(download, offset)


class Silent(Watched):
    """Sends its first byte when somebody has seen that it is waited for."""

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        deadline = time.monotonic() + WAIT_SECONDS
        while not Path(self.seen).exists():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)
        return super().open(download, offset, **watch)


class Endless(MemorySource):
    """Its downloads have no end."""

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        del download, offset
        yield HEADER
        while True:
            yield ROW * 1000


@dataclass
class Many:
    """An export of very many tiny downloads, as their source declares them; each names 5 of its 20 patients."""

    count: int = 0
    rows: int = 20
    name: str = "many"

    @staticmethod
    def download(number: int) -> Download:
        return Download("many", f"{number:08}", rows=20, etag=f'"{number:08}"', patients=PATIENTS[:5])

    def exports(self) -> Sequence[str]:
        return ["many"]

    def downloads(self, _export: str) -> Sequence[Download]:
        return [self.download(number) for number in range(self.count)]

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        del download
        rows = b"".join(b"%s,2025-08-26T00:00:04Z,bp_sys,71\n" % patient.encode() for patient in PATIENTS)
        yield (HEADER + rows)[offset:]

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Nothing:
    """A task without work."""

    number: int
    spec: TallySpec = field(default_factory=TallySpec)


def nothing(_source: Source, _task: Nothing, _progress: TaskProgress) -> None:
    """Do the work of an empty task."""
