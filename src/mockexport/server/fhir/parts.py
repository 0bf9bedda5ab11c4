"""FilesOf: a source whose downloads are split into files of so many resources each."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from mockexport.errors import ChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mockexport.model import Download
    from mockexport.source import Chunks, Source

__all__ = ["FilesOf"]

Key = tuple[str, str, str | None]


class FilesOf:
    """The downloads of another source, NDJSON, in parts of `resources` each.

    A download that declares no rows stays whole, since the number of its parts is not known. Where a part begins is
    found as the one before it is read, and kept: so a client that takes the parts in order has each byte read once. Any
    other part is looked for from the nearest one whose beginning is known. A part that was listed elsewhere, by another
    server, is found by listing its export once more.
    """

    def __init__(self, source: Source, resources: int) -> None:
        self._source = source
        self._resources = resources
        self._wholes: dict[Key, tuple[Download, int | None]] = {}  # of each part: the download, and its number from 0
        self._begins: dict[Key, dict[int, int]] = {}  # of each download: the bytes before a part

    @property
    def name(self) -> str:
        """The name of the other source."""
        return self._source.name

    def exports(self) -> Sequence[str]:
        """Return the ids of the exports."""
        return self._source.exports()

    def downloads(self, export: str) -> Iterator[Download]:
        """Yield the parts of an export's downloads."""
        for download in self._source.downloads(export):
            rows = download.rows or 0
            if rows <= self._resources:
                self._wholes[_key(download)] = (download, None)
                yield download
                continue
            for number, first in enumerate(range(0, rows, self._resources)):
                part = replace(
                    download,
                    id=f"{download.id}#{number}",
                    rows=min(self._resources, rows - first),
                    size=None,
                    split_size=None,
                    etag=download.etag and f"{download.etag}-{self._resources}-{number}",
                )
                self._wholes[_key(part)] = (download, number)
                yield part

    def open(self, download: Download, offset: int = 0, **_watch: object) -> Chunks:
        """Stream a part, from byte `offset` on. The last one goes on to the end, whatever rows are declared.

        Raises ChangedError for a part that was listed elsewhere, of a download that has changed since.
        """
        whole, number = self._wholes.get(_key(download)) or self._find(download)
        if number is None:
            yield from self._source.open(whole, offset)
            return
        begins = self._begins.setdefault(_key(whole), {0: 0})
        nearest = max(known for known in list(begins) if known <= number)
        at = begins[nearest]
        last = (number + 1) * self._resources >= (whole.rows or 0)
        skip = (number - nearest) * self._resources
        with closing(self._source.open(whole, at)) as chunks:
            for begin, end, chunk in _rows(chunks, skip, None if last else self._resources):
                yield chunk[begin + offset : end]
                offset = max(0, offset - (end - begin))
                at += end
        if not last:
            begins[number + 1] = at

    def _find(self, download: Download) -> tuple[Download, int | None]:
        """Return the download that a part is of, and its number; a download that is not split as it is."""
        numbers = {}
        for part in self.downloads(download.export):
            found = self._wholes[_key(part)]
            if _key(part) == _key(download):
                return found
            numbers[part.id] = found[1]
        whole = download.id.rpartition("#")[0]
        if numbers.get(download.id) is not None or not numbers.keys().isdisjoint((whole, f"{whole}#0")):
            raise ChangedError(
                f"download {whole!r} of export {download.export!r} changed since it was listed; try again"
            )
        return download, None

    def close(self) -> None:
        """Close the other source."""
        self._source.close()


def _key(download: Download) -> Key:
    return download.export, download.id, download.etag


def _rows(chunks: Iterator[bytes], skip: int, take: int | None) -> Iterator[tuple[int, int, bytes]]:
    """Yield where the wanted rows begin and end in each chunk: after `skip` rows, `take` of them, or all.

    A row that is blank is none (NDJSON), and belongs to the rows before it or after it, wherever it falls.
    """
    rows = 0
    blank = True  # there is nothing in this row so far
    for chunk in chunks:
        at = 0
        begin = 0 if rows >= skip else len(chunk)
        while (feed := chunk.find(b"\n", at)) >= 0:
            rows += not (blank and chunk[at:feed].strip() == b"")
            blank, at = True, feed + 1
            if begin == len(chunk) and rows == skip:
                begin = at
            if take is not None and rows == skip + take:
                yield begin, at, chunk
                return
        blank = blank and chunk[at:].strip() == b""
        yield begin, len(chunk), chunk
