"""The body of one download, read over as many connections as it takes.

A download whose connection is lost is resumed with `Range` and `If-Range` (RFC 9110, sections 14.2 and 13.1.5). That
takes a strong ETag, the same in every response, and the same length of the whole (identity.py). Anything else
(another range than requested, another ETag or none, a server without ranges) is NotResumableError: parts of different
versions are never combined.
"""

from __future__ import annotations

import re
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mockexport.errors import ChangedError, NotResumableError, Remedy, UntrustedDataError
from mockexport.http.retry import RetryableError
from mockexport.identity import is_strong, may_be_same
from mockexport.wire import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import httpx

    from mockexport.model import Download

    Send = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]

__all__ = ["HttpBody", "content_coding", "content_length", "content_range", "decoded", "etag_of"]

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
DIGITS = "[0-9]{1,18}"  # int() would also read longer numbers and other digits
CONTENT_LENGTH = re.compile(DIGITS)
CONTENT_RANGE = re.compile(
    f"bytes (?:({DIGITS})-({DIGITS})|\\*)/({DIGITS})"
)  # the last number is the length of the whole
NO_RANGE = (None, None, None)
ETAG = re.compile(r'(?:W/)?"[ !#-~]*"')  # RFC 9110, section 8.8.3; and spaces, which some servers send
DECODED_BYTES = 1 << 18  # at a time
GZIP = 16 + zlib.MAX_WBITS
EXPANDS_AT_MOST = 200  # times; such CSV compresses to about a fifth
SMALL_ENOUGH = 64 << 20  # bytes; up to here any expansion is allowed
EMPTY_AT_MOST = 1 << 20  # compressed bytes in a row that expand to nothing


class HttpBody:
    """Reads the body of a download, from byte `offset` on.

    `send` requests it with additional headers, and raises for an error status. The body must have the ETag
    `download.etag` and the length `download.size`, in bytes, if these are known. Its end must be proven: by a length, a
    last chunk or the declared number of rows. `allow_unproven_end` also accepts the end of the connection. `any_server`
    is for bodies from servers of all kinds: gzip is welcome, and a range is requested only where they were offered.
    `position` is the number of the next byte to read.
    """

    def __init__(
        self,
        send: Send,
        download: Download,
        offset: int = 0,
        *,
        allow_unproven_end: bool = False,
        any_server: bool = False,
    ) -> None:
        self.position = offset
        self.ended = False
        self._send = send
        self._listed = download
        self._etag = download.etag  # of the bytes before `position`
        self._length = download.size  # of the whole body, as far as it is known
        self._any_server = any_server
        self._ranges = not any_server  # are offered
        self._end_proven = False  # by the framing of the current response
        self._may_end_anywhere = (
            allow_unproven_end or download.rows is not None
        )  # the reader compares the number of rows
        self._connection = ExitStack()
        self._chunks: Iterator[bytes] | None = None

    def read(self) -> bytes:
        """Return the next bytes, none at the end. After a RetryableError it can be called again.

        Raises NotResumableError if the rest can't be read, or may belong to another version; UntrustedDataError if the
        end is not proven; ChangedError if there are more bytes than declared.
        """
        try:
            if self._chunks is None:
                self._chunks = self._connect()
            chunk = next(self._chunks, b"")
            self.position += len(chunk)
            self._check_length(ended=not chunk)
        except BaseException as error:
            self._chunks = None
            self._connection.__exit__(type(error), error, error.__traceback__)  # may raise another error
            raise
        if not chunk:
            self.close()
            self.ended = True
        return chunk

    def close(self) -> None:
        """Close the connection."""
        self._chunks = None
        self._connection.close()

    def _connect(self) -> Iterator[bytes]:
        headers = {"Accept": MEDIA_TYPES[self._listed.format]}
        if self._any_server:
            headers["Accept-Encoding"] = "identity, gzip;q=0.5"  # ranges of gzip are of no use
        if self.position:
            if not self._ranges:
                raise NotResumableError("the connection was lost, and the server does not offer ranges")
            if self._etag is None or not is_strong(self._etag):
                raise NotResumableError("the connection was lost, and without a strong ETag the body cannot be resumed")
            headers |= {"Range": f"bytes={self.position}-", "If-Range": self._etag}
        response = self._connection.enter_context(self._send(headers))
        if not self.position:
            return self._read_whole(response)
        return self._read_rest(response)

    def _read_whole(self, response: httpx.Response) -> Iterator[bytes]:
        if response.status_code != OK:
            raise UntrustedDataError(f"{response.url} answered {response.status_code} to a request without a range")
        etag, listed = etag_of(response), self._listed
        if listed.etag is not None and not may_be_same(listed.etag, etag):
            raise _changed(f"{response.url} has the ETag {etag or 'none'}, and was listed with {listed.etag}")
        self._etag = etag
        self._ranges = self._ranges or response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        self._length = listed.size
        coding = content_coding(response)
        if coding != "identity":
            self._etag = None  # ranges would count compressed bytes
            self._end_proven = True
            return decoded(response, coding)
        length = content_length(response)
        if listed.size is not None and length not in (None, listed.size):
            raise _changed(f"{response.url} has {length:,} bytes, and was listed with {listed.size:,}")
        self._length = listed.size if length is None else length
        self._end_proven = (
            length is not None or "Transfer-Encoding" in response.headers
        )  # then it ends with a last chunk
        return response.iter_raw()

    def _read_rest(self, response: httpx.Response) -> Iterator[bytes]:
        """Accept a 206 for the rest of the same body, or a 416 if all of it had been read."""
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
        raise NotResumableError(
            f"{response.url} was cut short, and the response to the retry is not the rest of the same body"
        )

    def _check_length(self, *, ended: bool) -> None:
        """Compare the bytes read with the length of the whole."""
        length = self._length
        if length is not None and self.position > length:
            raise ChangedError(
                f"a download of {length:,} bytes has at least {self.position:,}: it changed since it was listed"
            )
        if not ended:
            return
        if length is not None and self.position < length:
            raise RetryableError(
                UntrustedDataError(f"a body of {length:,} bytes was cut short after {self.position:,}")
            )
        if length is None and not (self._end_proven or self._may_end_anywhere):
            raise UntrustedDataError(
                f"nothing proves that the {self.position:,} bytes of download {self._listed.id!r} are all of it: no "
                "length, no last chunk, no declared rows",
                remedy=Remedy.ALLOW_UNPROVEN_END,
            )


def _changed(what: str) -> RetryableError:
    """Build the error for another version than was listed. Another replica may have that, so it is retried."""
    return RetryableError(
        ChangedError(f"{what}; it changed since then, or the server's replicas differ: try again later")
    )


def etag_of(response: httpx.Response) -> str | None:
    """Return a response's ETag as sent, `"…"` or `W/"…"`; None if it is missing or invalid."""
    etag: str = response.headers.get("ETag", "").strip()
    return etag if ETAG.fullmatch(etag) else None


def content_length(response: httpx.Response) -> int | None:
    """Return the Content-Length of a response, in bytes; None if it is missing or invalid."""
    text: str = response.headers.get("Content-Length", "").strip()
    return int(text) if CONTENT_LENGTH.fullmatch(text) else None


def content_range(response: httpx.Response) -> tuple[int | None, int | None, int | None]:
    """Return the first byte, the last byte and the length of the whole from Content-Range (RFC 9110, section 14.4).

    In a 416 only the length is known. All three are None if the header is missing, invalid or without a length.
    """
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    first, last, whole = (None if digits is None else int(digits) for digits in found.groups()) if found else NO_RANGE
    return first, last, whole


def content_coding(response: httpx.Response) -> str:
    """Return the content coding of a response; `identity` if it has none."""
    coding: str = response.headers.get("Content-Encoding", "identity")
    return coding.strip().lower()


def decoded(response: httpx.Response, coding: str) -> Iterator[bytes]:
    """Decode gzip, which some servers send unrequested, in bounded parts and to its end.

    Raises UntrustedDataError if it expands too much or to nothing, and for any other content coding; RetryableError if
    it is cut short.
    """
    if coding not in ("gzip", "x-gzip"):
        raise UntrustedDataError(f"{response.url} has a content coding that was not requested: {coding!r}")
    member = zlib.decompressobj(GZIP)
    received = produced = empty = 0
    for part in response.iter_raw():
        received += len(part)
        empty += len(part)
        rest, chunk = part, b""
        while rest or (len(chunk) == DECODED_BYTES and not member.eof):  # there may be more after a full chunk
            if member.eof:
                member = zlib.decompressobj(GZIP)
            chunk = member.decompress(rest, DECODED_BYTES)
            rest = member.unused_data if member.eof else member.unconsumed_tail
            produced += len(chunk)
            if produced > max(SMALL_ENOUGH, EXPANDS_AT_MOST * received):
                raise UntrustedDataError(f"{response.url} expands to more than {EXPANDS_AT_MOST} times its size")
            if chunk:
                empty = 0
                yield chunk
        if empty > EMPTY_AT_MOST:
            raise UntrustedDataError(f"{response.url} sends gzip that expands to nothing")
    if not member.eof:
        raise RetryableError(UntrustedDataError(f"{response.url} was cut short: its gzip is incomplete"))
