"""PublicUrl: an application that writes the URL by which clients reach it, where requests do not tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from mockexport.errors import UsageError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Origin", "PublicUrl", "read_origin"]


class Origin(NamedTuple):
    """What the URLs of a server begin with; `host` may have a port."""

    scheme: str
    host: str


class PublicUrl:
    """Another application, whose URLs in responses begin with an origin instead of the `http` and `Host` of a request.

    A proxy that ends TLS is what clients speak to, and neither its scheme nor always its name comes with a request. The
    origin is given, since a header that tells of it could be made up by a client.
    """

    def __init__(self, application: ASGIApp, origin: Origin) -> None:
        self._application = application
        self._scheme, self._host = origin.scheme, origin.host.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as if it had come by the URL."""
        if scope["type"] == "http":
            headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {**scope, "scheme": self._scheme, "headers": [(b"host", self._host), *headers]}
        await self._application(scope, receive, send)


def read_origin(url: str) -> Origin:
    """Return the origin that a URL names. Raises UsageError if it is not valid, or has more: requests come without."""
    expected = "expected one such as https://exports.example.org"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        parts.netloc.encode("ascii")
    except ValueError:
        raise UsageError(f"the public URL {url!r} is not valid; {expected}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or "@" in parts.netloc:
        raise UsageError(f"the public URL {url!r} is not an http(s) URL of a host; {expected}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError(f"the public URL {url!r} has more than a scheme and a host; {expected}")
    return Origin(parts.scheme, parts.netloc)
