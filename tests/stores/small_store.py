"""A bucket on loopback that speaks as much of S3 as readers and writers of ours need, and misbehaves on request."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET = "bucket"
LIST = '<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{}</ListBucketResult>'


@dataclass
class SmallStore:
    """Holds `objects` by key. `fault` is asked before each request, and says whether it has answered itself."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[Handler], bool] = lambda _request: False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, key or "", Range
    matches: bool = True  # or If-Match is ignored, as by a server that does not know it

    def __enter__(self) -> Self:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"store": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_ended: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def reads(self, key: str) -> int:
        """How often an object, or a part of it, was asked for."""
        return sum(asked == key and method == "GET" for method, asked, _ in self.requests)


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms
    store: SmallStore

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with suppress(OSError):  # a client need not read to the end
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.store.requests.append(("GET", self.key, self.headers.get("Range")))
        if self.store.fault(self):
            return
        if not self.key:
            self.answer(200, self.listing(), Content_Type="application/xml")
            return
        data = self.store.objects.get(self.key)
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        wanted = self.headers.get("If-Match")
        if self.store.matches and wanted not in (None, etag_of(data)):
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.send_object(data)

    def send_object(self, data: bytes, **headers: str) -> None:
        headers |= {"ETag": etag_of(data), "Last_Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            self.answer(200, data, **headers)
            return
        start, last = int(found[1]), min(len(data), int(found[2] or len(data)) + 1) - 1
        headers["Content_Range"] = f"bytes {start}-{last}/{len(data)}"
        self.answer(206, data[start : last + 1], **headers)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.store.requests.append(("PUT", self.key, None))
        if self.store.fault(self):
            return
        self.store.objects[self.key] = data
        self.answer(200, ETag=etag_of(data))

    def listing(self) -> bytes:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        folders, entries = set(), ""
        for key, data in sorted(self.store.objects.items()):
            name, more, _ = key.removeprefix(prefix).partition("/")
            if not key.startswith(prefix):
                continue
            if more:
                folders.add(f"{prefix}{name}/")
            else:
                entries += (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-02T10:00:00.000Z</LastModified>"
                    f"<ETag>{escape(etag_of(data))}</ETag><Size>{len(data)}</Size></Contents>"
                )
        entries += "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        return LIST.format(entries).encode()

    def reset(self, body: bytes = b"") -> bool:
        """Announce more than is sent, and end the connection."""
        self.send_response(206)
        self.send_header("Content-Length", str(len(body) + 1))
        self.send_header("ETag", etag_of(self.store.objects[self.key]))
        self.send_header("Content-Range", f"bytes 0-{len(body)}/{len(self.store.objects[self.key])}")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
        return True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""
