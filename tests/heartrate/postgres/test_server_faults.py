"""PostgreSQL that is killed, restarted and replaced by its standby under load: what was acknowledged stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.clients import clients_of
from tests.heartrate.postgres.clusters import Pair, needs_postgresql, pair
from tests.heartrate.postgres.nodes import Node, running, three_nodes
from tests.heartrate.postgres.proof import prove
from tests.seeds import rng, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator
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


RUNS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 10))]


@pytest.mark.parametrize("number", RUNS)
def test_a_primary_that_is_killed_and_replaced_by_its_standby_loses_nothing_acknowledged(
    number: int, servers: Pair, nodes: list[Node], tmp_path: Path
) -> None:
    chance = rng(f"fail over {number}")
    with clients_of(nodes, seed_of(f"fail over {number}")) as clients:
        for copied in (False, True):
            clients.wait_until_accepted(chance.randrange(1, 150))
            servers.fail_over()
            clients.wait_until_accepted(chance.randrange(1, 60))
            if copied:
                servers.copy_again()
            else:
                servers.rejoin()
        clients.wait_until_accepted(20)
        prove(clients, nodes, tmp_path)


@pytest.mark.parametrize("number", RUNS)
def test_a_primary_that_is_killed_and_started_again_loses_nothing(
    number: int, servers: Pair, nodes: list[Node], tmp_path: Path
) -> None:
    chance = rng(f"restart {number}")
    with clients_of(nodes, seed_of(f"restart {number}")) as clients:
        for _ in range(2):
            clients.wait_until_accepted(chance.randrange(1, 150))
            servers.primary.kill()
            servers.primary.start()
        servers.wait_for_sync()
        clients.wait_until_accepted(20)
        prove(clients, nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_backends_that_are_ended_at_any_moment_lose_and_double_nothing(
    number: int, servers: Pair, nodes: list[Node], tmp_path: Path
) -> None:
    chance = rng(f"end backends {number}")
    asked = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'mockexport%%'"
    with clients_of(nodes, seed_of(f"end backends {number}")) as clients:
        for _ in range(20):
            clients.wait_until_accepted(chance.randrange(1, 20))
            if backends := servers.primary.sql(asked):
                servers.primary.sql("SELECT pg_terminate_backend(%s)", chance.choice(backends)[0])
        prove(clients, nodes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_nodes_and_primaries_that_fail_together_lose_nothing_acknowledged(
    number: int, servers: Pair, nodes: list[Node], tmp_path: Path
) -> None:
    chance = rng(f"both {number}")
    with clients_of(nodes, seed_of(f"both {number}")) as clients:
        for _ in range(2):
            clients.wait_until_accepted(chance.randrange(1, 150))
            victim = chance.choice(nodes)
            victim.kill()
            servers.fail_over()
            victim.start()
            clients.wait_until_accepted(chance.randrange(1, 60))
            servers.rejoin()
        clients.wait_until_accepted(20)
        prove(clients, nodes, tmp_path)
