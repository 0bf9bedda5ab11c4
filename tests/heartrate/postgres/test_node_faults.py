"""Nodes that are killed or paused under load: what was acknowledged stays, and no query shows what cannot be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.clients import clients_of
from tests.heartrate.postgres.clusters import Pair, needs_postgresql, pair
from tests.heartrate.postgres.nodes import HEALTHY_SECONDS, Node, leader_of, running, three_nodes
from tests.heartrate.postgres.proof import prove
from tests.seeds import rng, seed_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.postgres, needs_postgresql, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with pair() as servers:
        yield servers


@pytest.fixture
def nodes(servers: Pair, tmp_path: Path) -> Iterator[list[Node]]:
    with running(three_nodes(tmp_path, servers.url(servers.new_database()))) as nodes:
        yield nodes


def wait_for_a_flush(table: Path, chance: random.Random) -> None:
    """Wait until a new file is in the table's folder, and up to the time that the rest of the flush takes."""
    before, deadline = set(table.rglob("*.parquet")), time.monotonic() + HEALTHY_SECONDS
    while set(table.rglob("*.parquet")) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.15))


KILLS_A_RUN = 5
MOMENTS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]


@pytest.mark.parametrize("number", MOMENTS)
def test_nodes_killed_at_any_moment_lose_and_double_nothing(number: int, nodes: list[Node], tmp_path: Path) -> None:
    """The leader is killed more often than others are, since it is the one that writes the table."""
    seed = seed_of(f"kill nodes {number}")
    chance = rng(f"kill nodes {number}")
    with clients_of(nodes, seed) as clients:
        for _ in range(KILLS_A_RUN):
            clients.wait_until_accepted(chance.randrange(1, 120))
            victim = leader_of(nodes) if chance.random() < 0.6 else chance.choice(nodes)
            victim.kill()
            if chance.random() < 0.5:
                clients.wait_until_accepted(chance.randrange(1, 30))  # the others go on without it
            victim.start()
        prove(clients, nodes, tmp_path)


@pytest.mark.parametrize("number", MOMENTS)
def test_a_leader_killed_while_it_moves_readings_to_the_table_loses_and_doubles_nothing(
    number: int, nodes: list[Node], tmp_path: Path
) -> None:
    name = f"kill in a flush {number}"
    with clients_of(nodes, seed_of(name)) as clients:
        for _ in range(2):
            leader = leader_of(nodes)
            wait_for_a_flush(tmp_path / "data" / "table", rng(name))
            leader.kill()
            leader.start()
        clients.wait_until_accepted(20)
        prove(clients, nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_all_nodes_killed_at_once_lose_nothing(number: int, nodes: list[Node], tmp_path: Path) -> None:
    chance = rng(f"all nodes {number}")
    with clients_of(nodes, seed_of(f"all nodes {number}")) as clients:
        for _ in range(2):
            clients.wait_until_accepted(chance.randrange(1, 150))
            for node in nodes:
                node.kill()
            for node in nodes:
                node.start()
        clients.wait_until_accepted(20)
        prove(clients, nodes, tmp_path)


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_a_leader_that_is_paused_in_a_flush_beyond_its_term_writes_nothing_when_it_comes_back(
    number: int, nodes: list[Node], tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    with clients_of(nodes, seed_of(f"pause {number}")) as clients:
        clients.wait_until_accepted(1)
        first = leader_of(nodes)
        wait_for_a_flush(tmp_path / "data" / "table", rng(f"pause {number}"))
        first.pause()
        others = [node for node in nodes if node is not first]
        second = leader_of(others)
        clients.wait_until_accepted(40)  # some of them go to the table in the new term
        first.resume()
        clients.wait_until_accepted(40)
        first.wait_until_healthy()
        eventually(lambda: second.leads() and not first.leads())
        prove(clients, nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_a_follower_that_is_paused_shows_nothing_old_when_it_comes_back(
    number: int, nodes: list[Node], tmp_path: Path
) -> None:
    with clients_of(nodes, seed_of(f"pause a follower {number}"), patience=1.0) as clients:
        clients.wait_until_accepted(rng(f"pause a follower {number}").randrange(1, 150))
        follower = next(node for node in nodes if not node.leads())
        follower.pause()
        clients.wait_until_accepted(150)
        follower.resume()
        follower.wait_until_healthy()
        clients.wait_until_accepted(100)
        prove(clients, nodes, tmp_path)
