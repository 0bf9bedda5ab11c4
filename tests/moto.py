"""An S3-compatible server on loopback: that of moto."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def moto_server() -> Iterator[str]:
    """Yield its URL. It is in a process of its own: some of deltalake's calls hold the interpreter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("Running on" in line for line in process.stderr)
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or its log would fill the pipe
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
