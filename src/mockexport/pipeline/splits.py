"""Large downloads in pieces, so that one file uses all processors.

A piece begins at a guess: the first line behind its place that would be a row. Whether it is one, nobody can tell from
there, for a line end may stand within quotes. So each piece also says where its last row ended, and the guess is proven
by the piece before it: only when every piece begins where the one before it ended, the first one at the start, and the
last one ends where the download does, do their counts stand. In any other case, a malformed row among them, the
download is read in one go, which decides.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

from mockexport.errors import ChangedError, NotResumableError, UntrustedDataError
from mockexport.model import Download
from mockexport.tally import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mockexport.pipeline.executors import Board
    from mockexport.source import Chunks, Source
    from mockexport.tally import Tallied, Tally

__all__ = ["Piece", "Span", "TalliedPiece", "fit_together", "split", "tally_piece"]

LOOK_BYTES = 2 << 20  # for a line that would be a row; the longest row is half of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece(Download):
    """The rows of a download that begin at one of the bytes from `begin` up to `stop`; the last one has no `stop`.

    Whoever watches the progress sees a download of its own.
    """

    whole: Download
    begin: int
    stop: int | None
    header: bytes


class Span(NamedTuple):
    """The rows of a piece, and between which bytes of the download they stand."""

    rows: int
    began: int
    ended: int


class TalliedPiece(NamedTuple):
    """What a piece holds, and where."""

    tallied: Tallied
    span: Span


def split(source: Source, download: Download, new_tally: Callable[[], Tally]) -> list[Download]:
    """Return the pieces of a download; itself alone where it is small, or can't be read from its middle on."""
    size, worth = download.size, download.piece
    if size is None or worth is None or size < 2 * worth:
        return [download]
    header = _first_line(source, download)
    if header is None or not _is_header(new_tally, header):
        return [download]
    count = size // worth
    borders = [size * number // count for number in range(count)]
    stops = [*borders[1:], None]
    return [
        Piece(
            export=download.export, id=f"{download.id} {number}/{count}", size=(stop or size) - begin,
            etag=download.etag, whole=download, begin=begin, stop=stop, header=header,
        )
        for number, (begin, stop) in enumerate(zip(borders, stops, strict=True), start=1)
    ]  # fmt: skip


def fit_together(download: Download, spans: Sequence[Span | None]) -> bool:
    """Tell whether these are all rows of a download: each piece begins where the one before it ended, up to its end."""
    found = [span for span in spans if span]
    return (
        len(found) == len(spans)
        and found[0].began == 0
        and all(one.ended == next_one.began for one, next_one in pairwise(found))
        and found[-1].ended == download.size
        and download.rows in (None, sum(span.rows for span in found))
    )


def tally_piece(
    source: Source, piece: Piece, new_tally: Callable[[], Tally], board: Board, number: int
) -> TalliedPiece | None:
    """Count the rows of a piece; None when it can't be told by itself. Raises ChangedError, as the source does."""
    board.restart(number)
    try:
        # The first piece too begins behind what is known: then a server is asked for these very bytes, by their ETag.
        place = piece.begin - 1 if piece.begin else len(piece.header)
        with contextlib.closing(source.open(piece.whole, place)) as chunks:
            tallied = _tally(chunks, piece, new_tally, board, number)
    except ChangedError:  # to read it in one go would be to read another version of it
        raise
    except (Malformed, NotResumableError, UntrustedDataError):
        return None
    board.end(number, tallied.span.rows if tallied else 0)
    return tallied


def _tally(
    chunks: Chunks, piece: Piece, new_tally: Callable[[], Tally], board: Board, number: int
) -> TalliedPiece | None:
    tally = new_tally()
    tally.feed(piece.header)
    began, position, rest = 0, len(piece.header), b""
    if piece.begin:
        found = _first_row(chunks, piece, new_tally)
        if not found:
            return None
        began, rest = found
        position = began
    for chunk in chain([rest] if rest else [], chunks):
        if not chunk:
            board.try_again(number)
        fed = _feed(tally, chunk, None if piece.stop is None else piece.stop - position)
        position += fed
        board.advance(number, tally.rows, fed)
        if piece.stop is not None and position >= piece.stop and tally.between_rows:
            break
    else:
        if piece.stop is not None:  # the download is shorter than declared
            return None
    tallied = tally.finish()  # a last row without a line end is a row only now
    return TalliedPiece(tallied, Span(tally.rows, began, position))


def _first_row(chunks: Chunks, piece: Piece, new_tally: Callable[[], Tally]) -> tuple[int, bytes] | None:
    """Return where the first line stands that would be a row, and what was read from there on.

    The chunks begin a byte before the piece, so that a line end there is seen.
    """
    data, line = b"", 0
    for chunk in chunks:
        data += chunk
        line = line or data.find(b"\n") + 1
        while line and (is_row := _is_row(new_tally, piece.header, data, line)) is not None:
            if is_row:
                return piece.begin - 1 + line, data[line:]
            line = data.find(b"\n", line) + 1
        if len(data) > LOOK_BYTES:
            break
    return None


def _is_row(new_tally: Callable[[], Tally], header: bytes, data: bytes, line: int) -> bool | None:
    """Tell whether a sound row could begin at byte `line`; None when its end is not there yet."""
    tally = new_tally()
    tally.feed(header)
    try:
        while end := data.find(b"\n", line) + 1:
            tally.feed(data[line:end])
            if tally.between_rows:
                return not tally.finish().left_out
            line = end
    except Malformed:
        return False
    return None


def _feed(tally: Tally, chunk: bytes, stop: int | None) -> int:
    """Feed a chunk up to the first row end at or behind its byte `stop`; return how many bytes of it that was."""
    fed = len(chunk) if stop is None else min(len(chunk), max(0, stop))
    tally.feed(chunk[:fed])
    while fed < len(chunk) and not tally.between_rows:
        end = chunk.find(b"\n", fed) + 1 or len(chunk)
        tally.feed(chunk[fed:end])
        fed = end
    return fed


def _first_line(source: Source, download: Download) -> bytes | None:
    data = b""
    with contextlib.closing(source.open(download)) as chunks:
        for chunk in chunks:
            data += chunk
            if end := data.find(b"\n") + 1:
                return data[:end]
            if len(data) > LOOK_BYTES:
                break
    return None


def _is_header(new_tally: Callable[[], Tally], line: bytes) -> bool:
    """Tell whether a line is a header by itself."""
    tally = new_tally()
    try:
        tally.feed(line)
    except Malformed:
        return False
    return tally.between_rows
