"""The body of one download, across as many connections as it takes.

After a break it goes on where it stopped, with `Range` and `If-Range`, when the server names these very bytes by a
strong ETag or a date. Where that can't be trusted (another range than was asked for, another ETag, a server without
ranges) it says so. It never guesses: what it hands on is one body, whole.
"""

from __future__ import annotations

import re
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mockexport.errors import StartAnewError, UntrustedDataError
from mockexport.retry import Again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import httpx

    Send = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]

__all__ = ["HttpBody", "unpacked"]

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
UNPACKED_BYTES = 1 << 18  # at a time, however much a packed piece holds
GZIP = 16 + zlib.MAX_WBITS
EXPANDS_AT_MOST = 200  # times; CSV of this kind packs to a fifth
SMALL_ENOUGH = 64 << 20  # bytes that may be unpacked from however little


class HttpBody:
    """Reads one body; `send` requests it with further headers, and raises for a status that is no success.

    `offset` is where to begin, `etag` what the caller knows of the bytes before it. `position` is the byte up to which
    it was read.
    """

    def __init__(self, send: Send, offset: int, etag: str | None) -> None:
        self.position = offset
        self.ended = False
        self._send = send
        self._validator = etag
        self._length: int | None = None  # of the whole body, as far as it is known
        self._connection = ExitStack()
        self._chunks: Iterator[bytes] | None = None

    def read(self) -> bytes:
        """Return the next bytes, nothing at the end. After an `Again` it can be called again.

        Raises StartAnewError where the missing bytes can't be had, or not be trusted to belong to those before.
        """
        try:
            if self._chunks is None:
                self._chunks = self._connect()
            chunk = next(self._chunks, b"")
            self.position += len(chunk)
            if not chunk:
                self._check_whole()
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
            if self._validator is None:
                raise StartAnewError(
                    "a body broke off, and nothing names its bytes so that the rest could be asked for"
                )
            headers |= {"Range": f"bytes={self.position}-", "If-Range": self._validator}
        response = self._connection.enter_context(self._send(headers))
        if not self.position:
            return self._take_whole(response)
        return self._take_rest(response)

    def _take_whole(self, response: httpx.Response) -> Iterator[bytes]:
        if response.status_code != OK:
            raise UntrustedDataError(f"{response.url} answered {response.status_code} when no range was asked for")
        self._validator = validator(response)
        self._length = None
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity":
            length = response.headers.get("Content-Length", "")
            self._length = int(length) if length.isascii() and length.isdigit() else None
            return response.iter_raw()
        self._validator = None  # a place in the unpacked bytes is none in the packed ones
        return unpacked(response, encoding)

    def _take_rest(self, response: httpx.Response) -> Iterator[bytes]:
        """Take a 206 that begins where we stopped, in the same body; and a 416 when we had stopped at the very end."""
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        place, last, whole = found.groups() if found else ("", "", "")
        if response.status_code == UNSATISFIABLE and not place and whole == str(self.position):
            self._length = self.position
            return iter(())
        right = (
            response.status_code == PARTIAL
            and place == str(self.position)
            and whole in ("*", str(int(last) + 1))
            and self._length in (None, int(last) + 1)
            and validator(response) in (None, self._validator)
            and response.headers.get("Content-Encoding", "identity").strip().lower() == "identity"
        )
        if not right:
            raise StartAnewError(f"{response.url} broke off, and what it sent then is not the rest of the same body")
        self._length = int(last) + 1
        return response.iter_raw()

    def _check_whole(self) -> None:
        if self._length is not None and self.position < self._length:
            raise Again(UntrustedDataError(f"a body of {self._length:,} bytes was cut short after {self.position:,}"))
        if self._length is not None and self.position > self._length:
            raise StartAnewError(f"a body of {self._length:,} bytes went on to {self.position:,}")


def validator(response: httpx.Response) -> str | None:
    """Return what names these very bytes in `If-Range`: a strong ETag, or else the date of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag:
        return etag if etag.startswith('"') else None
    return response.headers.get("Last-Modified") or None


def unpacked(response: httpx.Response, encoding: str) -> Iterator[bytes]:
    """Undo gzip, which some send unasked, a bounded piece at a time and to its very end.

    Raises UntrustedDataError when it grows beyond reason, and for any other encoding.
    """
    if encoding not in ("gzip", "x-gzip"):
        raise UntrustedDataError(f"{response.url} is packed in a way that was not asked for: {encoding!r}")
    member = zlib.decompressobj(GZIP)
    taken = given = 0
    for piece in response.iter_raw():
        taken += len(piece)
        rest, chunk = piece, b""
        while rest or len(chunk) == UNPACKED_BYTES:  # a full chunk may have more behind it
            if member.eof:
                member = zlib.decompressobj(GZIP)
            chunk = member.decompress(rest, UNPACKED_BYTES)
            rest = member.unused_data if member.eof else member.unconsumed_tail
            given += len(chunk)
            if given > max(SMALL_ENOUGH, EXPANDS_AT_MOST * taken):
                raise UntrustedDataError(f"{response.url} expands to more than {EXPANDS_AT_MOST} times its size")
            if chunk:
                yield chunk
    if not member.eof:
        raise Again(UntrustedDataError(f"{response.url} was cut short: its gzip has no end"))
