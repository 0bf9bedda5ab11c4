"""A real PostgreSQL server that tests share, with a database for each of them."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
from tests.heartrate.postgres.clusters import START_SECONDS, USER, single

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Cluster", "cluster", "new_database"]


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
    """Start a server in a temporary folder, and end it."""
    with single() as server:
        yield Cluster(server.folder, server.port)
