"""Large downloads in splits, so that one file uses all processors.

A split is a byte range of a download. In NDJSON its first row begins behind the first LF of the range. In CSV it begins
at a guess: the first line in the range that would be a row. Whether it is one cannot be told from there, for a line end
may stand within quotes. So each split also tells where its last row ended, and that proves the guess of the next one:
only when the splits are contiguous, from the start of the download to its end, do their results stand. In any other
case, a malformed row among them, the download is read whole, which decides.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from mockexport.errors import ChangedError, NotResumableError, UntrustedDataError
from mockexport.tally import Malformed, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mockexport.model import Download
    from mockexport.pipeline.progress import TaskProgress
    from mockexport.source import Chunks, Source
    from mockexport.tally import Accumulator, AccumulatorSpec

__all__ = ["Split", "SplitResult", "are_contiguous", "read_split", "split_download"]

R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)
BLANK = b"\n"  # is no row; behind it a byte order mark is data, as anywhere but at the start of a download
PROBE_BYTES = 2 << 20  # in which a line that would be a row must come; the longest row is half of that


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a download that begin in the byte range from `begin` up to `stop`; the last split has no `stop`.

    `header` has what is read before its own rows: the first line of a CSV. Whoever watches the progress sees a download
    of its own.
    """

    download: Download
    id: str
    begin: int
    stop: int | None
    header: bytes
    size: int

    @property
    def rows(self) -> None:
        """How many rows it has is not known before it is read."""
        return


@dataclass(frozen=True, slots=True)
class SplitResult(Generic[R_co]):
    """What the rows of a split come to, how many they are, and the byte range of the download that they fill."""

    result: R_co
    rows: int
    begin: int
    end: int


def split_download(
    source: Source, download: Download, spec: AccumulatorSpec[Result]
) -> Sequence[Split] | Sequence[Download]:
    """Return the splits of a download; itself alone where it is small, or cannot be read from its middle on."""
    size, split_size = download.size, download.split_size
    if size is None or split_size is None or size < 2 * split_size:
        return [download]
    header = b"" if spec.lf_ends_row else _first_line(source, download)
    if header is None or not (spec.lf_ends_row or _is_header(spec, header)):
        return [download]
    count = size // split_size
    begins = [size * number // count for number in range(count)]
    stops = [*begins[1:], None]
    small = replace(download, patients=None, event_types=None)  # what only listings show; it may be much
    return [
        Split(small, f"{download.id} {number}/{count}", begin, stop, header, (stop or size) - begin)
        for number, (begin, stop) in enumerate(zip(begins, stops, strict=True), start=1)
    ]


def are_contiguous(download: Download, results: Sequence[SplitResult[Result] | None]) -> bool:
    """Tell whether the splits, in their order, fill a download from its start to its end, and all were read."""
    read = [result for result in results if result]
    return (
        len(read) == len(results)
        and read[0].begin == 0
        and all(one.end == next_one.begin for one, next_one in pairwise(read))
        and read[-1].end == download.size
        and download.rows in (None, sum(result.rows for result in read))
    )


def read_split(source: Source, split: Split, spec: AccumulatorSpec[R], progress: TaskProgress) -> SplitResult[R] | None:
    """Read the rows of a split; None where its byte range alone cannot tell them. Raises ChangedError."""
    progress.restart()
    # The first split too begins behind what is known: then a server is asked for these very bytes, by their ETag.
    offset = split.begin - 1 if split.begin else len(split.header)
    try:
        opened = source.open(split.download, offset, on_retry=progress.retry_after, cancel=progress.cancel)
        with contextlib.closing(opened) as chunks:
            result = _read(chunks, split, spec, progress)
    except ChangedError:  # to read it whole would be to read another version of it
        raise
    except (Malformed, NotResumableError, UntrustedDataError):
        return None
    progress.finish(result.rows if result else 0)
    return result


def _read(chunks: Chunks, split: Split, spec: AccumulatorSpec[R], progress: TaskProgress) -> SplitResult[R] | None:
    accumulator = spec.new()
    accumulator.feed(BLANK if spec.lf_ends_row and split.begin else split.header)
    begin, position, rest = 0, len(split.header), b""
    if split.begin:
        found = _first_line_end(chunks, split) if spec.lf_ends_row else _first_row(chunks, split, spec.without_skip())
        if not found:
            return None
        begin, rest = found
        position = begin
    for chunk in chain([rest] if rest else [], chunks):
        fed = _feed(accumulator, chunk, None if split.stop is None else split.stop - position)
        position += fed
        progress.advance(accumulator.rows, fed)
        if split.stop is not None and position >= split.stop and accumulator.between_rows:
            break
    else:
        if split.stop is not None:  # the download is shorter than declared
            return None
    result = accumulator.finish()  # a last row without a line end is a row only now
    return SplitResult(result, accumulator.rows, begin, position)


def _first_line_end(chunks: Chunks, split: Split) -> tuple[int, bytes] | None:
    """Return where the first line behind an LF begins, and the bytes read from there on; as in `_first_row`."""
    position = split.begin - 1
    for chunk in chunks:
        if line := chunk.find(b"\n") + 1:
            return position + line, chunk[line:]
        position += len(chunk)
    return None


def _first_row(chunks: Chunks, split: Split, strict: AccumulatorSpec[Result]) -> tuple[int, bytes] | None:
    """Return where the first line begins that would be a row, and the bytes read from there on.

    The chunks begin a byte before the split, so that a line end there is seen.
    """
    data, line = b"", 0
    for chunk in chunks:
        data += chunk
        line = line or data.find(b"\n") + 1
        while line and (is_row := _is_row(strict, split.header, data, line)) is not None:
            if is_row:
                return split.begin - 1 + line, data[line:]
            line = data.find(b"\n", line) + 1
        if len(data) > PROBE_BYTES:
            break
    return None


def _is_row(strict: AccumulatorSpec[Result], header: bytes, data: bytes, line: int) -> bool | None:
    """Tell whether a sound row could begin at byte `line`; None when its end is not there yet."""
    accumulator = strict.new()
    accumulator.feed(header)
    try:
        while end := data.find(b"\n", line) + 1:
            accumulator.feed(data[line:end])
            if accumulator.between_rows:
                accumulator.finish()
                return True
            line = end
    except Malformed:
        return False
    return None


def _feed(accumulator: Accumulator[Result], chunk: bytes, stop: int | None) -> int:
    """Feed a chunk up to the first row boundary at or after its byte `stop`; return how many bytes of it that was."""
    fed = len(chunk) if stop is None else min(len(chunk), max(0, stop))
    accumulator.feed(chunk[:fed])
    while fed < len(chunk) and not accumulator.between_rows:
        end = chunk.find(b"\n", fed) + 1 or len(chunk)
        accumulator.feed(chunk[fed:end])
        fed = end
    return fed


def _first_line(source: Source, download: Download) -> bytes | None:
    data = b""
    with contextlib.closing(source.open(download)) as chunks:
        for chunk in chunks:
            data += chunk
            if end := data.find(b"\n") + 1:
                return data[:end]
            if len(data) > PROBE_BYTES:
                break
    return None


def _is_header(spec: AccumulatorSpec[Result], line: bytes) -> bool:
    """Tell whether a line is a header by itself."""
    accumulator = spec.new()
    try:
        accumulator.feed(line)
    except Malformed:
        return False
    return accumulator.between_rows
