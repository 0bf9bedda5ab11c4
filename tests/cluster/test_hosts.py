"""Three hosts, each in a network namespace of its own: one is cut off and brought back."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import COMMAND
from tests.cluster.machines import COMMITTED, Cluster
from tests.commands import run_command, started, wait_while_running
from tests.test_kill import kept_downloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

EXACT = (COMMITTED / "large.json").read_text(encoding="utf-8")
NAME = f"mx{os.getpid() % 100_000}"
HUB = f"{NAME}hub"
NETWORK = "10.251.77"
QUICK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}  # until a silent connection counts as dead; it takes no less


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def cable(host: str) -> str:
    """The hub's end of a host's cable."""
    return f"{NAME}{host}"


@contextmanager
def switched_hosts(*hosts: str) -> Iterator[None]:
    """A hub, on which the scheduler and the user are, and hosts on it."""
    spaces = [HUB, *(f"{HUB}{host}" for host in hosts)]
    try:
        for space in spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", HUB, "link", "add", "switch", "type", "bridge")
        ip("-n", HUB, "addr", "add", f"{NETWORK}.1/24", "dev", "switch")
        ip("-n", HUB, "link", "set", "switch", "up")
        ip("-n", HUB, "route", "add", "default", "dev", "switch")
        for number, host in enumerate(hosts, start=11):
            space = f"{HUB}{host}"
            ip("-n", HUB, "link", "add", cable(host), "type", "veth", "peer", "name", "wire", "netns", space)
            ip("-n", HUB, "link", "set", cable(host), "master", "switch", "up")
            ip("-n", space, "addr", "add", f"{NETWORK}.{number}/24", "dev", "wire")
            ip("-n", space, "link", "set", "wire", "up")
            ip("-n", space, "route", "add", "default", "via", f"{NETWORK}.1")  # by which Dask finds its own address
        yield
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of three hosts with a worker each, w1 to w3."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root, and the command ip")
    network = switched_hosts("w1", "w2", "w3")
    try:
        network.__enter__()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr.decode().strip()}")

    def program(name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", HUB if name == "scheduler" else f"{HUB}{name}")

    folder = tmp_path / "hosts"
    folder.mkdir()
    try:
        with Cluster(folder, host=f"{NETWORK}.1", program=program, settings=QUICK) as cluster:
            yield cluster.with_workers(3)
    finally:
        network.__exit__(None, None, None)


def here(*program: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", HUB, *program)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_host_that_is_cut_off_and_brought_back_leaves_the_count_exact(
    hosts: Cluster, tmp_path: Path, noticed: bool, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """With and without the scheduler's giving it up meanwhile."""
    arguments = ("count", "large", "--checkpoint", "kept", "--scheduler", hosts.address)
    with started(tmp_path, *arguments, program=here(COMMAND)) as process:
        wait_while_running(process, lambda: len(kept_downloads(tmp_path / "kept")) > 2)
        ip("-n", HUB, "link", "set", cable("w2"), "down")
        finished = len(kept_downloads(tmp_path / "kept"))
        wait_while_running(process, lambda: len(kept_downloads(tmp_path / "kept")) > finished + 1)
        assert process.poll() is None
        if noticed:
            eventually(lambda: "Remove worker" in hosts.said("scheduler"))
        ip("-n", HUB, "link", "set", cable("w2"), "up")
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout, stderr) == (0, EXACT, "")
    ids = kept_downloads(tmp_path / "kept")
    assert len(ids) == len(set(ids)) == 20
    assert ("Remove worker" in hosts.said("scheduler")) >= noticed


def test_localhost_of_the_user_is_none_of_the_hosts(hosts: Cluster, tmp_path: Path) -> None:
    with started(tmp_path, "serve", "--port", "0", program=here(COMMAND)) as server:
        assert server.stderr
        url = server.stderr.readline().split()[-1]
        done = run_command(tmp_path, "count", "-s", url, "--scheduler", hosts.address, program=here(COMMAND))
    assert (done.code, done.stdout) == (2, "")
    assert f"is elsewhere, where {url} is another server or none" in done.stderr


def test_a_user_who_is_cut_off_ends_with_exit_5(hosts: Cluster, tmp_path: Path) -> None:
    """From a host of the cluster, which loses its cable."""
    elsewhere = ("ip", "netns", "exec", f"{HUB}w1", COMMAND)
    arguments = ("count", "large", "--checkpoint", "kept", "--scheduler", hosts.address, "--timeout", "3")
    with started(tmp_path, *arguments, program=elsewhere) as process:
        wait_while_running(process, lambda: len(kept_downloads(tmp_path / "kept")) > 2)
        ip("-n", HUB, "link", "set", cable("w1"), "down")
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (5, ""), stderr
    assert "run the same command again to resume" in stderr
    ip("-n", HUB, "link", "set", cable("w1"), "up")
    assert run_command(tmp_path, *arguments, program=here(COMMAND)).stdout == EXACT
