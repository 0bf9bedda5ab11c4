"""Sources that are made for a test, and the CSV in them."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mockexport import Download
from mockexport.errors import no_such

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport.source import Chunks

EXPORT = "trial"
HEADER = b"patient_id,event_time,event_type,value\n"
ROW = b"P001,2025-08-26T00:00:04.906404Z,bp_sys,71\n"
WAIT_SECONDS = 60  # for what should happen at once, on a machine however busy


def csv_body(rows: int, row: bytes = ROW) -> bytes:
    return HEADER + row * rows


@dataclass
class MemorySource:
    """One export, whose downloads are given as bytes; `rows` is what they declare, `split_size` how large splits are.

    It can travel to a process.
    """

    bodies: Mapping[str, bytes]
    rows: Mapping[str, int | None] = field(default_factory=dict)
    chunk_bytes: int = 1000
    name: str = "memory"
    split_size: int | None = None  # with it, the sizes are declared, too
    places: list[tuple[str, int]] = field(default_factory=list)  # where it was opened

    def exports(self) -> Sequence[str]:
        return [EXPORT]

    def downloads(self, export: str) -> Sequence[Download]:
        if export != EXPORT:
            raise no_such("export", export, self.name, self.exports())
        return [
            Download(
                EXPORT,
                download,
                rows=self.rows.get(download),
                size=len(body) if self.split_size else None,
                split_size=self.split_size,
            )
            for download, body in self.bodies.items()
        ]

    def open(self, download: Download, offset: int = 0, **_watch: Any) -> Chunks:
        body = self.bodies[download.id]
        self.places.append((download.id, offset))
        for at in range(offset, len(body), self.chunk_bytes):
            yield body[at : at + self.chunk_bytes]

    def close(self) -> None:
        """Nothing is held."""


class NamedSource(MemorySource):
    """Its downloads have strong ETags: other bytes, another ETag."""

    def downloads(self, export: str) -> Sequence[Download]:
        return [
            replace(download, etag=hashlib.sha256(self.bodies[download.id]).hexdigest())
            for download in super().downloads(export)
        ]


class StallingSource(MemorySource):
    """Its download `stalls` sends nothing more after its header, until it is cancelled; the others do as usual."""

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        super().__init__({"stalls": b"", **bodies})
        self.stalled = threading.Event()
        self.cancelled = threading.Event()
        self.ended = threading.Event()  # the reader of the stalled download has let go of it

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        if download.id != "stalls":
            assert self.stalled.wait(WAIT_SECONDS)
            yield from super().open(download, offset)
            return
        try:
            with watch["cancel"].on_cancel(self.cancelled.set):
                yield HEADER
                self.stalled.set()
                assert self.cancelled.wait(WAIT_SECONDS)
                yield ROW
        finally:
            self.ended.set()
