"""A plain store with the API of S3: `python -m tests.bench.s3_server FOLDER` serves a folder as a bucket.

It lists what is below a prefix, and sends files, or ranges of them on condition of their ETag, by the kernel
(sendfile). So it takes little of what readers have. Signatures are not checked. A thread a connection.
"""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.bench.static_server import Handler, etag_of

BUCKET = "bench"
HEAD = f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>'
TIME = "2026-11-02T10:00:00.000Z"


class Store(ThreadingHTTPServer):
    """Serves one folder."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.root = root


class StoreHandler(Handler):
    server: Any

    def do_GET(self) -> None:  # noqa: N802 - as BaseHTTPRequestHandler calls it
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix(f"/{BUCKET}").lstrip("/")
        file = self.server.root / key
        if not key:
            query = parse_qs(url.query)
            body = listing(self.server.root, query.get("prefix", [""])[0], whole="delimiter" not in query)
            self._answer(200, {"Content-Type": "application/xml", "Content-Length": len(body)})
            self.wfile.write(body)
        elif not file.is_file():
            self._answer(404, {"Content-Length": 0})
        elif self.headers.get("If-Match") not in (None, etag_of(file)):
            self._answer(412, {"Content-Length": 0})
        else:
            self._send_file(file)


def listing(root: Path, prefix: str, *, whole: bool) -> bytes:
    """Tell what is below a prefix that ends in /, as ListObjectsV2 does; `whole` goes into what is below it."""
    folder = root / prefix
    paths = sorted(folder.rglob("*") if whole else folder.iterdir()) if folder.is_dir() else []
    parts = [HEAD]
    for path in paths:
        key = escape(str(path.relative_to(root)))
        if path.is_file():
            parts.append(
                f"<Contents><Key>{key}</Key><LastModified>{TIME}</LastModified>"
                f"<ETag>{escape(etag_of(path))}</ETag><Size>{path.stat().st_size}</Size></Contents>"
            )
        elif not whole:
            parts.append(f"<CommonPrefixes><Prefix>{key}/</Prefix></CommonPrefixes>")
    return "".join([*parts, "</ListBucketResult>"]).encode()


if __name__ == "__main__":
    with Store(Path(sys.argv[1])) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()
