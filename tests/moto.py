"""An S3-compatible server on loopback: that of moto."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


def variables_for(url: str) -> dict[str, str]:
    """Return the environment of a process that uses the server at a URL."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def moto_server() -> Iterator[str]:
    """Yield its URL. It is in a process of its own: some of deltalake's calls hold the interpreter."""
    command = [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            (url,) = next(found for line in process.stderr if (found := RUNNING.findall(line)))
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or its log would fill the pipe
            yield url
        finally:
            process.kill()
