"""Networks of their own for servers and nodes (Linux network namespaces), in which some can be cut from each other.

All members hang on one bridge, which is in a namespace too, so the machine's own network is not touched. Two ports of
the bridge that are `isolated` don't reach each other: packets vanish, and nobody is told. The tests stand at the
bridge, and reach all.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
BRIDGE = "bridge0"


class NoNetworksError(Exception):
    """This machine doesn't let us make networks."""


@dataclass
class Networks:
    """The members by name, and the addresses that they have."""

    prefix: str = field(default_factory=lambda: f"mockexport-{os.getpid()}")
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def hub(self) -> str:
        return f"{self.prefix}-hub"

    def inside(self, name: str) -> tuple[str, ...]:
        """What runs a command in the network of a member."""
        return ("nsenter", f"--net=/run/netns/{self.prefix}-{name}", "--")

    def make(self) -> None:
        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "add", "name", BRIDGE, "type", "bridge")
        ip("-n", self.hub, "addr", "add", "10.77.0.254/24", "dev", BRIDGE)
        ip("-n", self.hub, "link", "set", BRIDGE, "up")
        ip("-n", self.hub, "link", "set", "lo", "up")

    def add(self, name: str) -> None:
        """Give a member a network; its name is short."""
        network = f"{self.prefix}-{name}"
        self.addresses[name] = address = f"10.77.0.{len(self.addresses) + 1}"
        ip("netns", "add", network)
        ip("-n", self.hub, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", network)
        ip("-n", self.hub, "link", "set", name, "master", BRIDGE)
        ip("-n", self.hub, "link", "set", name, "up")
        ip("-n", network, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", network, "link", "set", "eth0", "up")
        ip("-n", network, "link", "set", "lo", "up")

    def remove(self) -> None:
        for name in [*self.addresses, "hub"]:
            ip("netns", "del", f"{self.prefix}-{name}")

    def cut(self, *names: str) -> None:
        """Cut these from each other; all others reach them."""
        for name in names:
            self._isolate(name, "on")

    def unplug(self, name: str) -> None:
        """Cut one from all others; from the tests, too."""
        ip("-n", self.hub, "link", "set", name, "down")

    def heal(self) -> None:
        """Connect all again."""
        for name in self.addresses:
            self._isolate(name, "off")
            ip("-n", self.hub, "link", "set", name, "up")

    def _isolate(self, name: str, state: str) -> None:
        run_or_raise("nsenter", f"--net=/run/netns/{self.hub}", "bridge", "link", "set", "dev", name, "isolated", state)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread, and the processes that it starts, to where it reaches all members."""
        with Path("/proc/thread-self/ns/net").open("rb") as ours, Path(f"/run/netns/{self.hub}").open("rb") as theirs:
            enter(theirs.fileno())
            try:
                yield
            finally:
                enter(ours.fileno())


def ip(*arguments: str) -> None:
    run_or_raise("ip", *arguments)


def run_or_raise(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError as error:
        raise NoNetworksError(str(error)) from error
    if done.returncode:
        raise NoNetworksError(f"{' '.join(command)}: {done.stderr.strip()}")


def enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def networks(*names: str) -> Iterator[Networks]:
    """Yield networks for these members. Raises NoNetworksError where the machine allows none."""
    made = Networks()
    try:
        made.make()
        for name in names:
            made.add(name)
        yield made
    finally:
        made.remove()
