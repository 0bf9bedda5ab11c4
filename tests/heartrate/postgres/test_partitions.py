"""Networks that are cut: a node from PostgreSQL, the leader from it, and the primary from its standby."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests import forking
from tests.heartrate.postgres.clients import PATIENCE, Clients, clients_of
from tests.heartrate.postgres.clusters import Pair, needs_postgresql, pair
from tests.heartrate.postgres.history import Outcome
from tests.heartrate.postgres.networks import Networks, NoNetworksError, networks
from tests.heartrate.postgres.nodes import Node, leader_of, running, three_nodes
from tests.heartrate.postgres.proof import prove
from tests.seeds import rng, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [pytest.mark.postgres, needs_postgresql, pytest.mark.timeout(1200)]

ANSWERED_SECONDS = 40.0  # a post whose commit waits for the standby in vain is answered sooner
NODES = ("n1", "n2", "n3")


@dataclass
class Place:
    """Servers and nodes, each in a network of its own."""

    networks: Networks
    servers: Pair
    nodes: list[Node]


@pytest.fixture(scope="module")
def connected() -> Iterator[tuple[Networks, Pair]]:
    try:
        with networks("first", "second", *NODES) as made:
            addresses = (made.addresses["first"], made.addresses["second"])
            with pair(addresses, (made.inside("first"), made.inside("second"))) as servers:
                yield made, servers
    except NoNetworksError as error:
        pytest.skip(f"no network namespaces here: {error}")


@pytest.fixture
def place(connected: tuple[Networks, Pair], tmp_path: Path) -> Iterator[Place]:
    made, servers = connected
    nodes = three_nodes(tmp_path, servers.url(servers.new_database()))
    for node in nodes:
        node.address, node.inside = made.addresses[node.name], made.inside(node.name)
    forking.close()  # those that other tests began are in another network
    try:
        with made.entered(), running(nodes):
            yield Place(made, servers, nodes)
    finally:
        forking.close()
        made.heal()


def clients_at(place: Place, name: str, patience: float = PATIENCE) -> AbstractContextManager[Clients]:
    return clients_of(place.nodes, seed_of(name), place.networks.entered, patience=patience)


RUNS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 10))]


@pytest.mark.parametrize("number", RUNS)
def test_a_leader_that_is_cut_from_the_primary_is_followed_by_another_one(
    number: int, place: Place, tmp_path: Path
) -> None:
    """It still reaches the table, which it must leave to the next one."""
    name = f"cut the leader {number}"
    with clients_at(place, name) as clients:
        clients.wait_until_accepted(rng(name).randrange(1, 150))
        leader = leader_of(place.nodes)
        place.networks.cut(leader.name, place.servers.primary.name)
        leader_of([node for node in place.nodes if node is not leader])
        clients.wait_until_accepted(100)
        place.networks.heal()
        leader.wait_until_healthy()
        clients.wait_until_accepted(50)
        prove(clients, place.nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_a_follower_that_is_cut_from_the_primary_answers_503_and_comes_back(
    number: int, place: Place, tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    name = f"cut a follower {number}"
    with clients_at(place, name) as clients:
        clients.wait_until_accepted(rng(name).randrange(1, 150))
        follower = next(node for node in place.nodes if not node.leads())
        place.networks.cut(follower.name, place.servers.primary.name)
        eventually(lambda: follower.health()[0] == 503)
        clients.wait_until_accepted(200)
        place.networks.heal()
        follower.wait_until_healthy()
        clients.wait_until_accepted(50)
        prove(clients, place.nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_while_the_primary_is_cut_from_its_standby_nothing_is_acknowledged(
    number: int, place: Place, tmp_path: Path
) -> None:
    name = f"cut the standby {number}"
    with clients_at(place, name, ANSWERED_SECONDS) as clients:
        clients.wait_until_accepted(rng(name).randrange(1, 150))
        place.networks.cut(place.servers.primary.name, place.servers.standby.name)
        time.sleep(3)  # what is on its way may still be acknowledged
        before = clients.history.count(Outcome.OK)
        time.sleep(rng(name).uniform(5, 40))  # how long it lasts is what is tried here
        assert clients.history.count(Outcome.OK) == before
        place.networks.heal()
        clients.wait_until_accepted(50)
        prove(clients, place.nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_a_primary_without_a_network_is_replaced_and_loses_nothing_acknowledged(
    number: int, place: Place, tmp_path: Path
) -> None:
    name = f"unplug the primary {number}"
    servers = place.servers
    with clients_at(place, name) as clients:
        clients.wait_until_accepted(rng(name).randrange(1, 150))
        place.networks.unplug(servers.primary.name)
        time.sleep(rng(name).uniform(0, 4))
        servers.promote()
        clients.wait_until_accepted(50)
        servers.standby.kill()  # as whoever promotes a standby has to see to
        place.networks.heal()
        servers.rejoin()
        clients.wait_until_accepted(20)
        prove(clients, place.nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_a_primary_that_is_cut_from_its_standby_and_then_replaced_loses_nothing_acknowledged(
    number: int, place: Place, tmp_path: Path
) -> None:
    """It had commits that its standby never got. They were refused, and may have been shown until then."""
    name = f"cut the standby and replace {number}"
    servers = place.servers
    with clients_at(place, name, ANSWERED_SECONDS) as clients:
        clients.wait_until_accepted(rng(name).randrange(1, 150))
        place.networks.cut(servers.primary.name, servers.standby.name)
        time.sleep(rng(name).uniform(16, 30))  # beyond the time that a commit waits for the standby
        lost = place.nodes if number % 2 else []  # with what they have in memory
        for node in lost:
            node.kill()
        servers.fail_over()
        forgiven = time.monotonic()
        place.networks.heal()
        for node in lost:
            node.start()
        clients.wait_until_accepted(50)
        servers.rejoin()
        clients.wait_until_accepted(20)
        prove(clients, place.nodes, tmp_path, forgiven)
