"""One cluster a module for all tests that leave it as it was, and one scheduler for odd workers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cluster.machines import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = 3


@pytest.fixture(scope="module")  # idle processes of Dask take some of a processor, so they end with the module
def lasting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(lasting_cluster: Cluster) -> Cluster:
    """A scheduler with three workers of one thread each; those that a test has killed are started anew."""
    return lasting_cluster.with_workers(WORKERS)


@pytest.fixture(scope="module")
def lone_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler without workers, which gives up a task at the first worker that dies of it."""
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with Cluster(tmp_path_factory.mktemp("lone"), settings=settings) as cluster:
        yield cluster


@contextmanager
def odd_worker(scheduler: Cluster, **changes: str) -> Iterator[str]:
    """A worker with another environment, as long as the block lasts."""
    name = scheduler.start_worker(**changes)
    scheduler.wait_for(name)
    try:
        yield name
    finally:
        scheduler.end_worker(name)
