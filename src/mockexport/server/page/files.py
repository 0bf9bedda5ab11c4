"""The page's own files: read once, compressed once, and sent with headers that let them load nothing from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from fastapi.responses import Response

from mockexport.server.headers import choose_encoding, names_tag

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from fastapi import Request

__all__ = ["HEADERS", "answer_file", "page_files"]

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'"  # so that a browser refuses to make markup of text
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageFile(NamedTuple):
    """A file as it is sent, plain or compressed."""

    plain: bytes
    compressed: bytes
    type: str
    tag: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """Return the page's files by their names, such as `vendor/uPlot.esm.js`."""
    return dict(_read(files(__package__) / "static", ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif kind := TYPES.get(entry.name.rpartition(".")[2]):
            data = entry.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            found.append((f"{prefix}{entry.name}", PageFile(data, gzip.compress(data, 9, mtime=0), kind, tag)))
    return found


def answer_file(file: PageFile, request: Request) -> Response:
    """Answer a request for one of the page's files, compressed if the browser takes that."""
    # The tag is the same for both codings, so it is a weak one (RFC 9110, section 8.8.3.3).
    headers = HEADERS | {"ETag": f"W/{file.tag}", "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if names_tag(request.headers.get("if-none-match", ""), f"W/{file.tag}"):
        return Response(status_code=304, headers=headers)
    if choose_encoding(request.headers.get("accept-encoding", ""), ("gzip",)):
        headers["Content-Encoding"] = "gzip"
        return Response(file.compressed, headers=headers, media_type=file.type)
    return Response(file.plain, headers=headers, media_type=file.type)
