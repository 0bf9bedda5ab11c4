"""A real PostgreSQL server for tests: one cluster, with a database for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Cluster", "binaries", "cluster"]

USER = "postgres"  # initdb refuses root
START_SECONDS = 60
CONF = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
max_connections = 100
shared_buffers = 128MB
"""


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL that is installed."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parts[-3])).parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


class Cluster:
    """A running server; its superuser is `postgres`, and needs no password."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def cluster() -> Generator[Cluster]:
    """Start a cluster in a temporary folder, and end it."""
    found = binaries()
    assert found
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        if as_user:
            shutil.chown(folder, USER, USER)
        data = folder / "data"
        initdb = [
            str(found / "initdb"),
            "--auth=trust",
            f"--username={USER}",
            "--encoding=UTF8",
            "--locale=C",
            str(data),
        ]
        subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd=folder)
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(CONF.format(port=port, folder=folder))
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, found / "postgres", "-D", data], stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        try:
            running = Cluster(folder, port)
            _wait(running, server)
            yield running
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                server.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(running: Cluster, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            running.run("SELECT")
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError((running.folder / "log").read_text()) from None
            time.sleep(0.05)
        else:
            return
