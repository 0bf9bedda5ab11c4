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

__all__ = ["HEADERS", "POLICY_PARTS", "PageFile", "answer_file", "page_files", "policy_of", "read_files"]

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "LICENSE": "text/plain; charset=utf-8",
}
POLICY_PARTS = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
}


def policy_of(parts: Mapping[str, str]) -> str:
    """Return a Content-Security-Policy."""
    return "; ".join(f"{name} {allowed}" for name, allowed in parts.items())


# The last part lets a browser refuse to make markup of text.
POLICY = policy_of(POLICY_PARTS | {"require-trusted-types-for": "'script'"})
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
    return read_files("static")


def read_files(folder: str) -> Mapping[str, PageFile]:
    """Return the files of a folder of this package. One that is kept compressed, `.gz`, is named without that."""
    return dict(_read(files(__package__) / folder, ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = entry.name.removesuffix(".gz")
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif kind := TYPES.get(name.rpartition(".")[2]):
            data = entry.read_bytes()
            plain = gzip.decompress(data) if name != entry.name else data
            compressed = data if name != entry.name else gzip.compress(data, 9, mtime=0)
            tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            found.append((f"{prefix}{name}", PageFile(plain, compressed, kind, tag)))
    return found


def answer_file(file: PageFile, request: Request, policy: str = POLICY) -> Response:
    """Answer a request for one of these files, compressed if the browser takes that."""
    # The tag is the same for both codings, so it is a weak one (RFC 9110, section 8.8.3.3).
    headers = HEADERS | {
        "Content-Security-Policy": policy,
        "ETag": f"W/{file.tag}",
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }
    if names_tag(request.headers.get("if-none-match", ""), f"W/{file.tag}"):
        return Response(status_code=304, headers=headers)
    if choose_encoding(request.headers.get("accept-encoding", ""), ("gzip",)):
        headers["Content-Encoding"] = "gzip"
        return Response(file.compressed, headers=headers, media_type=file.type)
    return Response(file.plain, headers=headers, media_type=file.type)
