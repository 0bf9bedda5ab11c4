from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.server import Cluster, binaries, cluster, new_database

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def postgres() -> Generator[Cluster]:
    """A server, which all tests of a run share."""
    if binaries() is None:
        pytest.skip("PostgreSQL's programs are not installed")
    with cluster() as running:
        yield running


@pytest.fixture
def database(postgres: Cluster) -> Generator[str]:
    """The name of a new database, which is dropped at the end, whoever is connected."""
    with new_database(postgres) as name:
        yield name


@pytest.fixture
def url(postgres: Cluster, database: str) -> str:
    return postgres.url(database)
