"""A store that fails under load: readings stay in the journal, are shown, and go to the table later."""

from __future__ import annotations

import socket
import subprocess
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import boto3  # type: ignore[import-untyped]
import pytest
from tests.heartrate.postgres.clients import clients_of
from tests.heartrate.postgres.clusters import PostgresServer, needs_postgresql, single
from tests.heartrate.postgres.nodes import running, three_nodes
from tests.heartrate.postgres.proof import prove
from tests.moto import moto_server, variables_for
from tests.seeds import rng, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.postgres, needs_postgresql, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with single() as server:
        yield server


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Make a folder so that nobody can write there, root neither."""
    done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine allows no mounts: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_folder_that_cannot_be_written_costs_no_reading(server: PostgresServer, tmp_path: Path) -> None:
    with (
        running(three_nodes(tmp_path, server.url(server.new_database()))) as nodes,
        clients_of(nodes, seed_of("unwritable")) as clients,
    ):
        clients.wait_until_accepted(100)
        with unwritable(tmp_path / "data" / "table"):
            clients.wait_until_accepted(300)
        clients.wait_until_accepted(50)
        prove(clients, nodes, tmp_path)


class Wire:
    """A way to a server that can be cut: what is on it is lost, and nobody gets through until it is mended."""

    def __init__(self, url: str) -> None:
        self.target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self.whole = True
        self.ends: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self) -> None:
        self.whole = False
        for end in list(self.ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self.listener.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with self.listener, suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            if not self.whole:
                return
            with socket.create_connection(self.target) as server:
                self.ends |= {client, server}
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join()
                self.ends -= {client, server}


def copy(source: socket.socket, target: socket.socket) -> None:
    """Hand on what one end says, to the end."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_an_object_store_that_is_cut_off_again_and_again_costs_no_reading(
    number: int, server: PostgresServer, tmp_path: Path
) -> None:
    """In the middle of a commit, too, of which then nobody knows whether it is in the table."""
    name = f"cut the store {number}"
    chance = rng(name)
    with moto_server() as store:
        boto3.client(
            "s3", endpoint_url=store, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        ).create_bucket(Bucket="readings")
        with closing(Wire(store)) as wire:
            url = server.url(server.new_database())
            nodes = three_nodes(tmp_path, url, "s3://readings/table", **variables_for(wire.url))
            with running(nodes), clients_of(nodes, seed_of(name)) as clients:
                for _ in range(3):
                    clients.wait_until_accepted(chance.randrange(20, 150))
                    wire.cut()
                    clients.stopping.wait(chance.uniform(0, 8))  # how long it lasts is what is tried here
                    wire.mend()
                clients.wait_until_accepted(50)
                prove(clients, nodes, tmp_path)
