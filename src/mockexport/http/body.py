"""The body of one download, across as many connections as it takes.

After a break it goes on where it stopped, with `Range` and `If-Range`, where the server names these very bytes by a
strong ETag, in every answer that is joined, and every answer means a body of the same length (identity.py). Where that
can't be trusted (another range than was asked for, another ETag or none, a server without ranges) it says so. It never
guesses: what it hands on is one body, whole.
"""

from __future__ import annotations

import re
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mockexport.errors import ChangedError, NotResumableError, Remedy, UntrustedDataError
from mockexport.http.retry import Again
from mockexport.identity import is_strong, may_be_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import httpx

    from mockexport.model import Download

    Send = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]

__all__ = ["HttpBody", "content_coding", "content_length", "etag_of", "unpacked"]

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
DIGITS = "[0-9]{1,18}"  # what Python reads as a number is longer than any file, and other digits than these
CONTENT_LENGTH = re.compile(DIGITS)
CONTENT_RANGE = re.compile(f"bytes (?:({DIGITS})-({DIGITS})|\\*)/({DIGITS})")  # with the length of the whole
NO_RANGE = (None, None, None)
ETAG = re.compile(r'(?:W/)?"[ !#-~]*"')  # RFC 9110, section 8.8.3, and blanks, which some send
UNPACKED_BYTES = 1 << 18  # at a time, however much a packed piece holds
GZIP = 16 + zlib.MAX_WBITS
EXPANDS_AT_MOST = 200  # times; CSV of this kind packs to a fifth
SMALL_ENOUGH = 64 << 20  # bytes that may be unpacked from however little
EMPTY_AT_MOST = 1 << 20  # bytes in a row that unpack to nothing


class HttpBody:
    """Reads the body of a download.

    `send` requests it with further headers, and raises for a status that is no success. `offset` is where to begin.
    What was listed is held against what is sent: the bytes must be those of `download.etag`, and as many as
    `download.size`. An end that nothing proves, no length, no last chunk, no rows declared, is an error unless
    `allow_unproven_end`. `position` is the byte up to which it was read.
    """

    def __init__(self, send: Send, download: Download, offset: int = 0, *, allow_unproven_end: bool = False) -> None:
        self.position = offset
        self.ended = False
        self._send = send
        self._listed = download
        self._etag = download.etag  # of the bytes before `position`
        self._length = download.size  # of the whole body, as far as it is known
        self._end_proven = False  # the answer that is being read ends where it says, or breaks off
        self._may_end_anywhere = allow_unproven_end or download.rows is not None  # whoever reads it counts its rows
        self._connection = ExitStack()
        self._chunks: Iterator[bytes] | None = None

    def read(self) -> bytes:
        """Return the next bytes, nothing at the end. After an `Again` it can be called again.

        Raises NotResumableError where the missing bytes can't be had, or not be trusted to belong to those before, and
        UntrustedDataError for an end that nothing proves, and more bytes than were listed.
        """
        try:
            if self._chunks is None:
                self._chunks = self._connect()
            chunk = next(self._chunks, b"")
            self.position += len(chunk)
            self._check_length(ended=not chunk)
        except BaseException as error:
            self._chunks = None
            self._connection.__exit__(type(error), error, error.__traceback__)  # which may make another error of it
            raise
        if not chunk:
            self.close()
            self.ended = True
        return chunk

    def close(self) -> None:
        """Let go of the connection."""
        self._chunks = None
        self._connection.close()

    def _connect(self) -> Iterator[bytes]:
        headers = {"Accept": "text/csv"}
        if self.position:
            if self._etag is None or not is_strong(self._etag):
                raise NotResumableError(
                    "a body broke off, and no strong ETag names its bytes so that the rest could be asked for"
                )
            headers |= {"Range": f"bytes={self.position}-", "If-Range": self._etag}
        response = self._connection.enter_context(self._send(headers))
        if not self.position:
            return self._take_whole(response)
        return self._take_rest(response)

    def _take_whole(self, response: httpx.Response) -> Iterator[bytes]:
        if response.status_code != OK:
            raise UntrustedDataError(f"{response.url} answered {response.status_code} when no range was asked for")
        etag, listed = etag_of(response), self._listed
        if listed.etag is not None and not may_be_same(listed.etag, etag):
            raise _changed(f"{response.url} has the ETag {etag or 'none'}, and was listed with {listed.etag}")
        self._etag = etag
        self._length = listed.size
        coding = content_coding(response)
        if coding != "identity":
            self._etag = None  # a place in the unpacked bytes is none in the packed ones
            self._end_proven = True
            return unpacked(response, coding)
        length = content_length(response)
        if listed.size is not None and length not in (None, listed.size):
            raise _changed(f"{response.url} has {length:,} bytes, and was listed with {listed.size:,}")
        self._length = listed.size if length is None else length
        self._end_proven = (
            length is not None or "Transfer-Encoding" in response.headers
        )  # then it ends with a last chunk
        return response.iter_raw()

    def _take_rest(self, response: httpx.Response) -> Iterator[bytes]:
        """Take a 206 that begins where we stopped, in the same body; and a 416 when we had stopped at the very end."""
        first, last, whole = content_range(response)
        same = (
            self._length in (None, whole) and etag_of(response) == self._etag and content_coding(response) == "identity"
        )
        if response.status_code == PARTIAL and same and (first, last) == (self.position, whole and whole - 1):
            self._length = whole
            return response.iter_raw()
        if response.status_code == UNSATISFIABLE and same and (first, whole) == (None, self.position):
            self._length = whole
            return iter(())
        raise NotResumableError(f"{response.url} broke off, and what it sent then is not the rest of the same body")

    def _check_length(self, *, ended: bool) -> None:
        """Compare what was read with the length of the whole."""
        length = self._length
        if length is not None and self.position > length:
            raise ChangedError(
                f"a download of {length:,} bytes goes on to {self.position:,}: it changed since it was listed"
            )
        if not ended:
            return
        if length is not None and self.position < length:
            raise Again(UntrustedDataError(f"a body of {length:,} bytes was cut short after {self.position:,}"))
        if length is None and not (self._end_proven or self._may_end_anywhere):
            raise UntrustedDataError(
                f"nothing proves that the {self.position:,} bytes of download {self._listed.id!r} are all of it: no "
                "length, no last chunk, no rows declared",
                remedy=Remedy.ALLOW_UNPROVEN_END,
            )


def _changed(what: str) -> Again:
    """Build the error for another version than was listed; a replica of a server may have the one that was."""
    return Again(ChangedError(f"{what}; it changed since then, or the server's replicas differ: try again later"))


def etag_of(response: httpx.Response) -> str | None:
    """Return an answer's ETag as it was sent, `"…"` or `W/"…"`; None where there is none, or what is there is none."""
    etag: str = response.headers.get("ETag", "").strip()
    return etag if ETAG.fullmatch(etag) else None


def content_length(response: httpx.Response) -> int | None:
    """Return the bytes of an answer's body that its head tells, if it does."""
    text: str = response.headers.get("Content-Length", "").strip()
    return int(text) if CONTENT_LENGTH.fullmatch(text) else None


def content_range(response: httpx.Response) -> tuple[int | None, int | None, int | None]:
    """Return an answer's first and last byte and the length of the whole; a length alone is that of a 416.

    None for all three where the length isn't told, or it makes no sense.
    """
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    first, last, whole = (None if digits is None else int(digits) for digits in found.groups()) if found else NO_RANGE
    return first, last, whole


def content_coding(response: httpx.Response) -> str:
    """Return how an answer's body is packed; `identity` where it isn't."""
    coding: str = response.headers.get("Content-Encoding", "identity")
    return coding.strip().lower()


def unpacked(response: httpx.Response, encoding: str) -> Iterator[bytes]:
    """Undo gzip, which some send unasked, a bounded piece at a time and to its very end.

    Raises UntrustedDataError when it grows beyond reason, or not at all, and for any other encoding.
    """
    if encoding not in ("gzip", "x-gzip"):
        raise UntrustedDataError(f"{response.url} is packed in a way that was not asked for: {encoding!r}")
    member = zlib.decompressobj(GZIP)
    taken = given = empty = 0
    for piece in response.iter_raw():
        taken += len(piece)
        empty += len(piece)
        rest, chunk = piece, b""
        while rest or (len(chunk) == UNPACKED_BYTES and not member.eof):  # a full chunk may have more behind it
            if member.eof:
                member = zlib.decompressobj(GZIP)
            chunk = member.decompress(rest, UNPACKED_BYTES)
            rest = member.unused_data if member.eof else member.unconsumed_tail
            given += len(chunk)
            if given > max(SMALL_ENOUGH, EXPANDS_AT_MOST * taken):
                raise UntrustedDataError(f"{response.url} expands to more than {EXPANDS_AT_MOST} times its size")
            if chunk:
                empty = 0
                yield chunk
        if empty > EMPTY_AT_MOST:
            raise UntrustedDataError(f"{response.url} sends gzip that holds nothing")
    if not member.eof:
        raise Again(UntrustedDataError(f"{response.url} was cut short: its gzip has no end"))
