"""`heartrate send` with several nodes of one service: all get a share, and what one can't take goes to the others."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import run_command, serve_command, started, wait_while_running
from tests.heartrate.serving import BATCH, FakeService, done, served
from tests.scripted_http import http, refusing
from tests.sources import WAIT_SECONDS

from mockexport.errors import NotAuthorisedError, UnreachableError
from mockexport.heartrate.ingest.limits import RateLimits
from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.load.client import HeartRateClient
from mockexport.heartrate.load.nodes import HeartRateNodes
from mockexport.heartrate.load.sender import send
from mockexport.heartrate.load.synthetic import Plan
from mockexport.http.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.scripted_http import ScriptedServer

    from mockexport.heartrate.readings import Readings

PLAN = Plan(readings=4000, batch=100, clients=4, duplicates=0.2, invalid=0.01)


def distinct(*services: FakeService) -> int:
    """How many readings a table of all nodes would have."""
    return len(
        {
            key
            for service in services
            for readings in service.accepted
            for key in zip(readings.users, readings.devices, readings.times, strict=True)
        }
    )


@contextmanager
def nodes_of(*urls: str, retries: int = 5, timeout: float = WAIT_SECONDS, **options: Any) -> Iterator[HeartRateNodes]:
    with ExitStack() as stack:
        each = [stack.enter_context(closing(HeartRateClient(url, timeout=timeout, **options))) for url in urls]
        yield HeartRateNodes(each, timeout=timeout, retries=Retries(retries, first_wait=0.01))


@pytest.fixture
def two() -> Iterator[tuple[list[FakeService], list[str]]]:
    """Two services, and the URLs of their servers."""
    services = [FakeService(), FakeService()]
    with ExitStack() as stack:
        yield services, [str(stack.enter_context(served(each)).base_url).rstrip("/") for each in services]


@pytest.mark.gate
def test_every_node_gets_a_share_and_the_summary_tells_each(two: tuple[list[FakeService], list[str]]) -> None:
    services, urls = two
    plan = replace(PLAN, readings=20_000)  # so many that none is kept from its share by a moment without a processor
    with nodes_of(*urls) as nodes:
        summary = send(nodes, plan)
    assert summary.nodes is not None
    assert [(node.url, node.failures) for node in summary.nodes] == [(url, 0) for url in urls]
    for node, service in zip(summary.nodes, services, strict=True):
        assert node.accepted == sum(map(len, service.accepted))
        assert node.accepted > plan.readings / 10, "not all went to the other one"  # type: ignore[operator]
    assert sum(node.accepted for node in summary.nodes) == summary.accepted
    assert sum(node.rejected for node in summary.nodes) == summary.rejected > 0
    assert summary.distinct == distinct(*services) < summary.accepted


@pytest.mark.gate
def test_what_a_node_stored_but_did_not_acknowledge_goes_to_another_one_and_counts_once(
    two: tuple[list[FakeService], list[str]],
) -> None:
    services, urls = two

    def unknown(_: Readings) -> Future[None]:
        return done(JournalError("the connection was lost while it was committed"))

    services[0].accepting = unknown  # it has the readings all the same
    with nodes_of(*urls) as nodes:
        summary = send(nodes, PLAN)
    assert summary.nodes is not None
    assert services[0].accepted
    assert [node.accepted for node in summary.nodes] == [0, summary.accepted]
    assert summary.nodes[0].failures == len(services[0].accepted) == summary.tried_again
    assert summary.distinct == distinct(*services) == distinct(services[1])


@pytest.mark.gate
def test_a_node_that_is_away_from_the_start_and_one_that_limits_leave_it_to_the_others() -> None:
    service, limited = FakeService(), FakeService()
    with (
        served(service) as web,
        served(limited, limits=RateLimits("2/hour", clock=lambda: 0.0)) as web_limited,
        refusing() as away,
        nodes_of(away, str(web_limited.base_url), str(web.base_url)) as nodes,
    ):
        nodes.wait_until_ready()
        summary = send(nodes, PLAN)
    assert summary.nodes is not None
    first = summary.nodes[0]
    assert (first.url, first.accepted) == (away, 0)
    assert all(node.failures for node in summary.nodes[:2])
    assert len(limited.accepted) == 2
    assert summary.distinct == distinct(service, limited)


@pytest.mark.gate
def test_a_node_that_comes_back_gets_a_share_again(two: tuple[list[FakeService], list[str]]) -> None:
    services, urls = two
    back = threading.Event()

    def at_first_not(_: Readings) -> Future[None]:
        if len(services[1].accepted) < 10:
            return done(JournalError("not yet"))  # which asks for a second of rest
        back.set()
        return done()

    def slowly_until_then(_: Readings) -> Future[None]:
        back.wait(0.01)
        return done()

    services[0].accepting = at_first_not
    services[1].accepting = slowly_until_then
    with nodes_of(*urls) as nodes:
        summary = send(nodes, replace(PLAN, readings=20_000))
    assert summary.nodes is not None
    assert summary.nodes[0].failures in range(1, PLAN.clients + 1)
    assert all(node.accepted for node in summary.nodes)


def test_when_all_nodes_are_away_it_ends_after_the_retries_with_the_last_error() -> None:
    with (
        refusing() as one,
        refusing() as other,
        nodes_of(one, other, retries=2) as nodes,
        pytest.raises(UnreachableError, match="reached"),
    ):
        send(nodes, PLAN)
    with (
        refusing() as one,
        refusing() as other,
        nodes_of(one, other, timeout=0.2) as nodes,
        pytest.raises(UnreachableError, match="reached"),
    ):
        nodes.wait_until_ready()


@pytest.mark.gate
def test_a_refused_token_is_told_at_once(two: tuple[list[FakeService], list[str]]) -> None:
    with (
        served(FakeService(), token="secret") as web,
        nodes_of(str(web.base_url), two[1][0]) as nodes,
        pytest.raises(NotAuthorisedError),
    ):
        send(nodes, PLAN)


def test_paths_have_no_version_so_that_older_servers_and_other_services_know_them(http_server: ScriptedServer) -> None:
    answer = {"status": "accepted", "accepted": 100, "rejected": 0, "total": 100}
    http_server.answers[BATCH] = http(json.dumps(answer).encode(), 202)
    with closing(HeartRateClient(http_server.url, timeout=WAIT_SECONDS)) as client:
        assert send(client, Plan(readings=100, batch=100, clients=1)).nodes is None
    assert BATCH == "/metrics/heart-rate/batch"


@pytest.mark.gate
def test_a_real_node_that_is_killed_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Each has a table of its own here, so what was acknowledged is compared with both."""
    clients = 4
    arguments = ("-n", "200000", "--rate", "50000", "--burst", "5000", "--clients", str(clients), "--verbose")
    with (
        serve_command("--data", tmp_path / "one", "--verbose") as one,
        serve_command("--data", tmp_path / "two") as two,
        started(tmp_path, "heartrate", "send", *arguments, "-s", one.url, "-s", two.url) as sending,
    ):
        wait_while_running(sending, lambda: one.answered(202) >= 10 + clients)
        one.kill()
        stdout, stderr = sending.communicate(timeout=WAIT_SECONDS * 4)
        assert sending.returncode == 0, stderr
    summary = json.loads(stdout)
    first, second = summary["nodes"]
    assert first["failures"] > 0
    assert first["accepted"] >= 10_000  # each client may lack the last answer that the server counted
    assert first["accepted"] + second["accepted"] == summary["accepted"] == summary["sent"] == 200_000
    counted = [
        json.loads(run_command(tmp_path, "count", "heart_rate", "-s", folder).stdout)["totals"]["heart_rate"]
        for folder in ("one", "two")
    ]
    assert counted[1] <= second["accepted"]
    assert sum(counted) >= summary["distinct"]
