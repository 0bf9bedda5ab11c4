"""Two sources as one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.sources import EXPORT, MemorySource, csv_body

from mockexport import Download, NotFoundError, UsageError, count
from mockexport.sources.union import UnionSource


@dataclass
class Renamed(MemorySource):
    """A source whose one export has another name."""

    export: str = "other"

    def exports(self) -> list[str]:
        return [self.export]

    def downloads(self, export: str) -> list[Download]:
        if export != self.export:
            raise NotFoundError(export)
        return [Download(self.export, download) for download in self.bodies]


def joined() -> UnionSource:
    return UnionSource(MemorySource({"a": csv_body(3)}), Renamed({"b": csv_body(5)}))


def test_it_has_the_exports_of_both_and_counts_each() -> None:
    source = joined()
    assert source.exports() == [EXPORT, "other"]
    assert [count(source, export).rows for export in source.exports()] == [3, 5]
    assert source.name == "memory and memory"
    source.close()


def test_an_unknown_export_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="it has trial, other"):
        joined().downloads("unheard-of")


def test_two_exports_of_the_same_name_are_refused() -> None:
    with pytest.raises(UsageError, match="both memory and memory have an export 'trial'; rename it"):
        UnionSource(MemorySource({}), Renamed({}, export=EXPORT))
