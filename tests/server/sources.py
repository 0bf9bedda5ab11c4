"""Sources that are made to be served, and watched."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.sources import EXPORT, HEADER, ROW, WAIT_SECONDS, MemorySource

from mockexport import Download
from mockexport.server.ids import wire_id
from mockexport.wire import download_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport.source import Chunks

ROWS_CHUNK = ROW * 1500


def path_of(download: str) -> str:
    """The path of a download of EXPORT, by its id in the source."""
    return download_path(EXPORT, wire_id(Download(EXPORT, download)))


@dataclass
class DeclaringSource(MemorySource):
    """Declares sizes and etags, where they are given."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    etags: Mapping[str, str] = field(default_factory=dict)

    def downloads(self, export: str) -> Sequence[Download]:
        return [
            replace(download, size=self.sizes.get(download.id), etag=self.etags.get(download.id))
            for download in super().downloads(export)
        ]


class WatchedSource(DeclaringSource):
    """Tells of the download `watched` how often it was opened, how many bytes were made, and that it was closed."""

    def __init__(self, etag: str | None = "v1", size: int | None = None) -> None:
        super().__init__(
            {"watched": b"", "other": HEADER + ROW},
            etags={} if etag is None else {"watched": etag},
            sizes={} if size is None else {"watched": size},
        )
        self.opened = 0
        self.made = 0
        self.some_made = threading.Event()
        self.closed = threading.Event()

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        if download.id != "watched":
            yield from super().open(download, offset)
            return
        self.opened += 1
        try:
            for chunk in self.chunks():
                self.made += len(chunk)
                yield chunk[offset:]
                offset = max(0, offset - len(chunk))
                self.some_made.set()
        finally:
            self.closed.set()

    def chunks(self) -> Chunks:
        """The download's bytes: here, rows without end."""
        yield HEADER
        while True:
            yield ROWS_CHUNK


class StuckSource(WatchedSource):
    """Sends some chunks, and is then stuck until `go_on` is set."""

    before = (HEADER, *[ROWS_CHUNK] * 20)

    def __init__(self) -> None:
        super().__init__()
        self.stuck = threading.Semaphore(0)
        self.go_on = threading.Event()

    def chunks(self) -> Chunks:
        yield from self.before
        self.stuck.release()
        assert self.go_on.wait(WAIT_SECONDS)
        yield ROW


class FailingSource(WatchedSource):
    """Sends some chunks, and then fails; it is opened anew each time."""

    def __init__(self, error: Exception, chunks: Sequence[bytes] = (), size: int | None = None) -> None:
        super().__init__(size=size)
        self.error = error
        self.before = chunks

    def chunks(self) -> Chunks:
        yield from self.before
        raise self.error
