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
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Cluster", "binaries", "cluster", "new_database"]

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
            return cursor.fetchall() if cursor.description is not None else []

    @contextlib.contextmanager
    def settings(self, **settings: str) -> Generator[None]:
        """Change settings of the server for the length of a block."""
        try:
            for name, value in settings.items():
                self.run(f"ALTER SYSTEM SET {name} = '{value}'")
            self._reload(settings)
            yield
        finally:
            for name in settings:
                self.run(f"ALTER SYSTEM RESET {name}")
            self._reload({})

    @contextlib.contextmanager
    def passwords(self) -> Generator[None]:
        """Ask all but the superuser for a password, for the length of a block."""
        rules = self.folder / "data" / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text(f"host all {USER} all trust\nhost all all all scram-sha-256\n")
            self._reload({})
            yield
        finally:
            rules.write_text(before)
            self._reload({})

    def _reload(self, expected: dict[str, str]) -> None:
        """Have the files read again, and wait until new sessions have the settings."""
        [(before,)] = self.run("SELECT pg_conf_load_time()")
        self.run("SELECT pg_reload_conf()")
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            [(loaded,)] = self.run("SELECT pg_conf_load_time()")
            found = {name: self.run(f"SHOW {name}")[0][0] for name in expected}
            if loaded != before and found == expected:
                return
            time.sleep(0.02)
        raise TimeoutError


@contextlib.contextmanager
def new_database(cluster: Cluster) -> Generator[str]:
    """Make a database, and drop it at the end, whoever is connected."""
    name = f"test_{uuid.uuid4().hex}"
    cluster.run(f"CREATE DATABASE {name}")
    yield name
    cluster.run(f"DROP DATABASE {name} WITH (FORCE)")


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
