"""UnionSource: the union of two sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockexport.errors import UsageError, no_such

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mockexport.model import Download
    from mockexport.source import Chunks, Source

__all__ = ["UnionSource"]


class UnionSource:
    """The exports of two sources; of an export that both have by now, the one of `beside` counts.

    Raises UsageError when both have one of that name to begin with.
    """

    def __init__(self, source: Source, beside: Source) -> None:
        self._source = source
        self._beside = beside
        for export in set(source.exports()) & set(beside.exports()):
            raise UsageError(f"both {source.name} and {beside.name} have an export {export!r}; rename it in the first")

    @property
    def parts(self) -> tuple[Source, Source]:
        """The two sources."""
        return self._source, self._beside

    @property
    def name(self) -> str:
        """The names of the two."""
        return f"{self._source.name} and {self._beside.name}"

    def exports(self) -> list[str]:
        """Return the ids of all exports."""
        return list(dict.fromkeys([*self._source.exports(), *self._beside.exports()]))

    def downloads(self, export: str) -> Iterable[Download]:
        """Return the downloads of an export, from the source that has it."""
        if export not in (known := self.exports()):
            raise no_such("export", export, self.name, known)
        return self.home(export).downloads(export)

    def open(self, download: Download, offset: int = 0, **watch: Any) -> Chunks:
        """Stream a download, from the source that has it."""
        return self.home(download.export).open(download, offset, **watch)

    def close(self) -> None:
        """Close both."""
        self._source.close()
        self._beside.close()

    def home(self, export: str) -> Source:
        """Return the source that has an export."""
        return self._beside if export in self._beside.exports() else self._source
