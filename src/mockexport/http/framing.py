"""Which bytes of a connection belong to one HTTP/1.1 response (RFC 9112, section 6).

httpcore's parser, h11, takes whatever it is given: bytes after the end of a response would become the next response on
that connection. So a connection passes on the bytes of one response only, and knows when there are more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Framing"]

HEAD_END = re.compile(rb"\n\r?\n")
HEAD_END_BYTES = 3
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,20})[ \t]*(?:;.*)?\r\n", re.DOTALL)
LENGTH = re.compile(rb"[0-9]{1,20}")
BODILESS = frozenset((204, 304))


class Framing:
    """Follows the bytes of one response as they arrive: interim responses, the head, the body."""

    def __init__(self) -> None:
        self._in_head = True
        self._left: int | None = None  # of the body, or of a chunk and its line end; None: until the connection ends
        self._chunked = self._in_trailer = self._over = False
        self._line = b""  # the part of a line that has arrived

    def begin_body(self, method: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Continue with the body, which ends where these headers say."""
        fields = {name.lower(): value for name, value in headers}
        self._in_head = False
        self._line = b""
        if method == b"HEAD" or status in BODILESS:
            self._left = 0
        elif b"transfer-encoding" in fields:  # h11 refuses any other coding than chunked
            self._chunked = True
            self._left = 0
        elif LENGTH.fullmatch(length := fields.get(b"content-length", b"")):
            self._left = int(length)

    def take(self, data: bytes) -> int:
        """Return how many of the next bytes of the connection belong to the response.

        In the head it stops after each blank line: what follows depends on the headers.
        """
        if self._in_head:
            return self._take_head(data)
        if self._chunked:
            return self._take_chunks(data)
        if self._left is None:
            return len(data)
        taken = min(self._left, len(data))
        self._left -= taken
        return taken

    def _take_head(self, data: bytes) -> int:
        before = len(self._line)
        if found := HEAD_END.search(self._line + data):
            self._line = b""
            return found.end() - before
        self._line = (self._line + data)[1 - HEAD_END_BYTES :]
        return len(data)

    def _take_chunks(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self._over:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._end_line(self._line)
                self._line = b""
        return at

    def _end_line(self, line: bytes) -> None:
        if self._in_trailer:
            self._over = line in (b"\r\n", b"\n")
        elif found := CHUNK_SIZE.fullmatch(line):
            size = int(found[1], 16)
            self._in_trailer = not size
            self._left = size and size + len(b"\r\n")
        else:  # h11 refuses it
            self._chunked, self._left = False, None
