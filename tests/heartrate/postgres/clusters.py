"""Real PostgreSQL servers of Debian's binaries: a primary and a synchronous standby, to be killed and promoted.

Each server is a child of this process, in a folder of its own, and ends with its block. Statements of the tests go over
the server's socket file, so they pass whatever cuts the network.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL that is installed: where Debian has it, or on the path."""
    found = [initdb.parent for initdb in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


BINARIES = binaries()
NOT_INSTALLED = "PostgreSQL's programs are not installed"
needs_postgresql = pytest.mark.skipif(BINARIES is None, reason=NOT_INSTALLED)

USER = "postgres"
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # runs a program that ends with the tests, even if these are killed
START_SECONDS = 60
SETTINGS = {
    "fsync": "on",
    "wal_log_hints": "on",  # pg_rewind asks for it
    "shared_buffers": "32MB",
    "wal_keep_size": "256MB",
    "wal_sender_timeout": "2s",
    "wal_receiver_timeout": "2s",
    "wal_retrieve_retry_interval": "100ms",
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "hot_standby": "on",
}
HBA = "local all all trust\nhost all all all trust\nlocal replication all trust\nhost replication all all trust\n"


def as_postgres() -> tuple[str, ...]:
    """What starts a program as the user postgres, since PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--")


def run(program: str, *arguments: object, inside: tuple[str, ...] = ()) -> None:
    """Run one of PostgreSQL's programs to its end."""
    assert BINARIES
    done = subprocess.run(
        [*inside, *as_postgres(), str(BINARIES / program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
    )
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@contextmanager
def folder_of_postgres() -> Iterator[Path]:
    """Yield a folder that the user postgres may write, and remove it. Those of pytest are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="mockexport-pg-"))
    try:
        if as_postgres():
            shutil.chown(folder, USER, USER)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@functools.cache
def template() -> Path:
    """Return the data of a server that was never started. It is made once a process, for that takes seconds."""
    import atexit

    made = folder_of_postgres()
    folder = made.__enter__()
    atexit.register(made.__exit__, None, None, None)
    options = ["--username", USER, "--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync"]
    run("initdb", "--pgdata", folder / "data", *options)
    (folder / "data" / "pg_hba.conf").write_text(HBA, encoding="utf-8")
    with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
    return folder / "data"


def runs(pid: int) -> bool:
    """Tell whether a process has not ended yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class PostgresServer:
    """One PostgreSQL server, running or not.

    `inside` is a command that runs another one in a network of its own, where `address` is the server's.
    """

    name: str
    folder: Path
    address: str = "127.0.0.1"
    inside: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert BINARIES
        assert self.process is None
        settings = {
            "port": self.port,
            "listen_addresses": self.address,
            "unix_socket_directories": self.folder,
            "cluster_name": self.name,
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.inside, *as_postgres(), *WITH_US, str(BINARIES / "postgres"), "-D", str(self.data)]
                + [part for name, value in settings.items() for part in ("-c", f"{name}={value}")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process
            assert self.process.poll() is None, self.log()
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.03)
            else:
                return

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def kill(self) -> None:
        """SIGKILL to all of its processes, as if its machine had lost power; but what was written is still cached."""
        if self.process is None or self.process.poll() is not None:
            self.process = None
            return
        self.process.send_signal(signal.SIGSTOP)  # it must not have more children
        # Each child is in a session of its own, so there is no group to kill.
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        children = [int(pid) for pid in found.split()]
        self.process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended()
        while any(runs(pid) for pid in children):  # the next start would be refused
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut it down; sessions are ended."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
        self._ended()

    def _ended(self) -> None:
        if self.process:
            self.process.wait(START_SECONDS)
            self.process = None

    def sql(self, statement: str, *parameters: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement in a session of its own; return its rows."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
        ) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def set(self, **settings: str) -> None:
        """Change settings while it runs, for its next start, too."""
        for name, value in settings.items():
            self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        """How a node finds one of its databases."""
        return f"postgresql://{USER}@{self.address}:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"readings_{time.time_ns()}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    @property
    def dsn(self) -> str:
        """How another server finds it."""
        return f"host={self.address} port={self.port} user={USER} dbname=postgres connect_timeout=2"


@dataclass
class Pair:
    """A primary and its standby. A commit is acknowledged when both have it on disk, while they are `together`."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def servers(self) -> list[PostgresServer]:
        return [self.primary, self.standby]

    def url(self, database: str) -> str:
        """The URL that finds whichever of the two is the primary."""
        hosts = ",".join(f"{one.address}:{one.port}" for one in sorted(self.servers, key=lambda one: one.name))
        return f"postgresql://{USER}@{hosts}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its name."""
        return self.primary.new_database()

    def together(self) -> None:
        """From now on, commits wait for the standby."""
        self.primary.set(synchronous_standby_names=f'FIRST 1 ("{self.standby.name}")')
        self.wait_for_sync()

    def wait_for_sync(self) -> None:
        asked = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND sync_state = 'sync'"
        deadline = time.monotonic() + START_SECONDS
        while not self.primary.sql(asked + " AND state = 'streaming'", self.standby.name):
            assert time.monotonic() < deadline, self.standby.log()
            time.sleep(0.03)

    def alone(self) -> None:
        """From now on, commits do not wait for the standby."""
        self.primary.set(synchronous_standby_names="")

    def fail_over(self) -> None:
        """Kill the primary, and promote the standby, which has all that was acknowledged."""
        self.primary.kill()
        self.promote()

    def promote(self) -> None:
        """Make the standby the primary. That the old one is written no more is for the caller to see to."""
        self.standby.sql("SELECT pg_promote(true, 60)")
        self.primary, self.standby = self.standby, self.primary
        self.alone()

    def rejoin(self) -> None:
        """Make the old primary, which does not run, the standby of the new one, and let commits wait for it."""
        if (self.standby.data / "standby.signal").exists():
            (self.standby.data / "standby.signal").unlink()
        self.primary.sql("CHECKPOINT")  # from here on, the new primary's files tell the history that it belongs to
        run(
            "pg_rewind",
            "--target-pgdata", self.standby.data,
            "--source-server", f"host={self.primary.folder} port={self.primary.port} user={USER} dbname=postgres",
            "--no-sync",
        )  # fmt: skip
        self._follow()

    def copy_again(self) -> None:
        """Make the standby a fresh copy of the primary."""
        shutil.rmtree(self.standby.data, ignore_errors=True)
        run(
            "pg_basebackup",
            "--pgdata", self.standby.data,
            "--host", self.primary.folder,
            "--port", self.primary.port,
            "--username", USER,
            "--checkpoint=fast", "--no-sync",
        )  # fmt: skip
        self._follow()

    def _follow(self) -> None:
        data = self.standby.data
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as conf:
            conf.write(f"primary_conninfo = '{self.primary.dsn} application_name={self.standby.name}'\n")
            conf.write("synchronous_standby_names = ''\nrecovery_target_timeline = 'latest'\n")
        (data / "standby.signal").touch()
        self.standby.start()
        self.together()


def new_server(folder: Path, name: str, address: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> PostgresServer:
    """Return a server with empty databases; it isn't started."""
    server = PostgresServer(name, folder / name, address, inside)
    subprocess.run([*as_postgres(), "cp", "-a", template().parent, server.folder], check=True, cwd="/")
    return server


@contextmanager
def single() -> Iterator[PostgresServer]:
    """Yield a running server; it ends with the block."""
    with folder_of_postgres() as folder:
        server = new_server(folder, "single")
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def pair(
    addresses: tuple[str, str] = ("127.0.0.1", "127.0.0.1"), inside: tuple[tuple[str, ...], ...] = ((), ())
) -> Iterator[Pair]:
    """Yield a running primary with its synchronous standby; whatever runs of them ends with the block."""
    with folder_of_postgres() as folder:
        first = new_server(folder, "first", addresses[0], inside[0])
        second = PostgresServer("second", folder / "second", addresses[1], inside[1])
        subprocess.run([*as_postgres(), "mkdir", str(second.folder)], check=True, cwd="/")
        servers = Pair(first, second)
        try:
            first.start()
            servers.copy_again()
            yield servers
        finally:
            for server in (first, second):
                server.kill()
