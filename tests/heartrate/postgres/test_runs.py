"""Runs of the page at identical servers: real processes over one database, of which the one that runs it may die."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.heartrate.postgres.nodes import running, three_nodes
from tests.server.page.serving import ended, events_of, start
from tests.sources import WAIT_SECONDS

from mockexport.server.page import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.heartrate.postgres.nodes import Node

pytestmark = pytest.mark.postgres


@contextmanager
def two_nodes(folder: Path, url: str) -> Iterator[list[tuple[Node, httpx.Client]]]:
    """Two servers that count slowly, and a client of each."""
    with (
        running(three_nodes(folder, url, MOCKEXPORT_KERNEL="pure")[:2]) as (one, other),
        httpx.Client(base_url=one.url, timeout=WAIT_SECONDS) as first,
        httpx.Client(base_url=other.url, timeout=WAIT_SECONDS) as second,
    ):
        yield [(one, first), (other, second)]


def test_a_count_is_told_of_cancelled_and_answered_by_any_server(tmp_path: Path, url: str) -> None:
    with two_nodes(tmp_path, url) as ((_, one), (_, other)):
        run = start(one, "count", "demo")
        assert [*events_of(other, f"/page/runs/{run['id']}/events")][-1]["state"] == "done"
        answers = [client.get(f"/page/runs/{run['id']}/result.json").json() for client in (one, other)]
        assert answers[0] == answers[1]
        assert sum(answers[0]["totals"].values()) == 18784
        run = start(one, "count", "large")
        assert next(event for event in events_of(other, f"/page/runs/{run['id']}/events") if event["rows"])
        assert other.delete(f"/page/runs/{run['id']}").status_code == 202
        assert ended(one, run)["state"] == ended(other, run)["state"] == "cancelled"
        assert [told["state"] for told in other.get("/page/runs").json()] == ["cancelled", "done"]


def test_a_count_whose_server_is_killed_has_failed_and_another_one_can_be_started(tmp_path: Path, url: str) -> None:
    with two_nodes(tmp_path, url) as ((node, one), (_, other)):
        run = start(one, "count", "large")
        told = events_of(other, f"/page/runs/{run['id']}/events")
        assert next(event for event in told if event["rows"])["state"] == "running"
        node.kill()
        last = [*told][-1]
        assert (last["state"], last["error"]) == ("failed", records.LOST)
        assert ended(other, start(other, "count", "demo"))["state"] == "done"
        assert [run["state"] for run in other.get("/page/runs").json()] == ["done", "failed"]
