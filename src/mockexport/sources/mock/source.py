"""MockSource: the made-up exports as a Source, in this process; as CSV."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mockexport.errors import no_such
from mockexport.model import Download
from mockexport.settings import Settings
from mockexport.sources.mock.kernel import choose_generator
from mockexport.sources.mock.specs import EXPORTS, plans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mockexport.source import Chunks
    from mockexport.sources.mock.reference import Generator
    from mockexport.sources.mock.specs import Plan

__all__ = ["MockSource", "chunks_from"]

CHUNK_BYTES = 1 << 18  # fits a core's own cache, so that whoever reads it next finds it there


class MockSource:
    """Makes its exports up while they are read.

    `kernel` says by which generator: `native`, `pure`, or `auto` for the native one where it was built. Raises
    UsageError when `native` is asked for and was not built.
    """

    name = "mock"

    def __init__(self, kernel: str = "auto") -> None:
        self._kernel = kernel
        self._generator = choose_generator(kernel)

    def __reduce__(self) -> tuple[Callable[[type[MockSource], str], MockSource], tuple[type[MockSource], str]]:
        """Pickle the kernel's name alone: a process on another machine uses the generator that it has."""
        return _unpickled, (type(self), self._kernel)

    @property
    def kernel(self) -> str:
        """Which generator was asked for."""
        return self._kernel

    def exports(self) -> list[str]:
        """Return the ids of the made-up exports."""
        return list(EXPORTS)

    def downloads(self, export: str) -> list[Download]:
        """Return an export's downloads, all of it declared but their sizes, which only the rows themselves tell."""
        return [
            Download(
                export=export,
                id=plan.id,
                rows=plan.rows,
                event_types=tuple(event_type.name for event_type in plan.event_types),
                patients=plan.patients,
                start_time=plan.start,
                end_time=plan.end,
                etag=f"{self.name}-{plan.id}",
            )
            for plan in self._plans(export)
        ]

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        """Generate a download's bytes; those before `offset` are generated and dropped."""
        plan = next((plan for plan in self._plans(download.export) if plan.id == download.id), None)
        if plan is None:
            known = [known.id for known in self.downloads(download.export)]
            raise no_such("download", download.id, f"export {download.export!r}", known)
        return chunks_from(offset, iter(partial(self._rows(plan).read, CHUNK_BYTES), b""))

    def close(self) -> None:
        """Do nothing: nothing is open between calls."""

    def _plans(self, export: str) -> tuple[Plan, ...]:
        if export not in EXPORTS:
            raise no_such("export", export, f"source {self.name!r}", self.exports())
        return plans(export)

    def _rows(self, plan: Plan) -> Generator:
        return self._generator(plan)


def chunks_from(offset: int, chunks: Iterable[bytes]) -> Chunks:
    """Yield the bytes of chunks from `offset` on."""
    for chunk in chunks:
        if offset < len(chunk):
            yield chunk[offset:]
        offset = max(0, offset - len(chunk))


def _unpickled(source: type[MockSource], kernel: str) -> MockSource:
    return source("pure" if kernel == "pure" else Settings.from_environment().kernel)
