from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.clusters import BINARIES, NOT_INSTALLED
from tests.heartrate.postgres.server import Cluster, cluster, new_database

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def postgres() -> Generator[Cluster]:
    """A server, which all tests of a run share."""
    if BINARIES is None:
        pytest.skip(NOT_INSTALLED)
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
