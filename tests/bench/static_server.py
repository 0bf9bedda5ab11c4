"""A plain server of files: `python -m tests.bench.static_server FOLDER` serves the exports below a folder.

The JSON of docs/wire.md is prepared, and declares nothing but ids; files are sent by the kernel (sendfile), whole or a
range of them, with Content-Length and ETag, as any server of files does. A thread a connection.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mockexport import Download, wire

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Server(ThreadingHTTPServer):
    """Serves what was prepared: JSON and files by path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.json: dict[str, bytes] = {}
        self.files: dict[str, Path] = {}
        exports = {folder.name: sorted(folder.glob("*.csv")) for folder in sorted(root.iterdir())}
        self._prepare(wire.API, wire.exports_body(list(exports)))
        for export, files in exports.items():
            self._prepare(wire.export_path(export), wire.export_body(export, [file.stem for file in files]))
            for file in files:
                path = wire.download_path(export, file.stem)
                self._prepare(path, wire.download_body(Download(export, file.stem)))
                self.files[f"{path}/data"] = file

    def _prepare(self, path: str, body: dict[str, Any]) -> None:
        self.json[path] = json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if body := self.server.json.get(self.path):
            self._answer(200, {"Content-Type": "application/json", "Content-Length": len(body)})
            if self.command == "GET":
                self.wfile.write(body)
        elif file := self.server.files.get(self.path):
            self._send_file(file)
        else:
            self._answer(404, {"Content-Length": 0})

    def _send_file(self, file: Path) -> None:
        status = file.stat()
        size = status.st_size
        headers: dict[str, object] = {
            "Content-Type": wire.CONTENT_TYPES["csv"],
            "ETag": etag_of(file),
            "Last-Modified": self.date_time_string(status.st_mtime),
            "Accept-Ranges": "bytes",
        }
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        end = min(size, int(wanted[2]) + 1) if wanted and wanted[2] else size
        partial = wanted is not None and start < end
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        else:
            start, end = 0, size
        self._answer(206 if partial else 200, headers | {"Content-Length": end - start})
        if self.command == "GET":
            with file.open("rb") as opened:
                self.connection.sendfile(opened, start, end - start)

    def _answer(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def etag_of(file: Path) -> str:
    status = file.stat()
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


if __name__ == "__main__":
    with Server(Path(sys.argv[1])) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
        server.serve_forever()
