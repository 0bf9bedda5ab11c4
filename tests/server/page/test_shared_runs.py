"""Runs at several servers of one service: any of them tells of a run, whichever does it."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.page.kinds import HeldRun
from tests.server.page.reached import Reached
from tests.server.page.serving import ended, events_of, page_over, start
from tests.sources import EXPORT, WAIT_SECONDS, MemorySource, csv_body

from mockexport.server import Answer
from mockexport.server.page import records, routes
from mockexport.server.page import runs as runs_module
from mockexport.server.page.records import Records
from mockexport.server.page.runs import Run, Runs
from mockexport.shared import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

SMALL = {"a": csv_body(3)}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def two_servers(held: HeldRun, one: Any, other: Any = None) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two servers with the same run, each with the documents as it reaches them."""
    source = MemorySource(SMALL)
    with (
        page_over(source, [held], documents=one) as (first, _),
        page_over(source, [held], documents=other or one) as (second, _),
    ):
        yield first, second


def states(client: httpx.Client) -> list[str]:
    return [run["state"] for run in client.get("/page/runs").json()]


@pytest.mark.gate
def test_a_run_is_listed_and_watched_at_any_server_which_gives_its_answer() -> None:
    held = HeldRun()
    with two_servers(held, InMemory()) as (one, other):
        run = start(one, "held", EXPORT)
        path = f"/page/runs/{run['id']}"
        assert other.get(path).json()["state"] == "running"  # at once: the next request of a page may go there
        told = events_of(other, f"{path}/events")
        assert next(event for event in told if event["rows"])["rows"] == 7
        assert states(other) == ["running"]
        assert other.get(f"{path}/result.json").status_code == 409
        held.may_end.set()
        assert [*told][-1]["state"] == "done"
        assert states(other) == states(one) == ["done"]
        for suffix, answer in (("json", held.answer.json), ("csv", held.answer.csv)):
            results = [client.get(f"{path}/result.{suffix}") for client in (one, other)]
            assert [result.content for result in results] == [answer, answer]
            assert results[0].headers["content-disposition"] == results[1].headers["content-disposition"]
            assert results[0].headers["content-type"] == results[1].headers["content-type"]


def test_the_command_names_the_server_that_was_asked() -> None:
    with two_servers(HeldRun(), InMemory()) as (one, other):
        run = start(one, "held", EXPORT)
        for client in (one, other):
            server = str(client.base_url).rstrip("/")
            assert client.get(f"/page/runs/{run['id']}").json()["command"].endswith(f"--source {server}")
            assert client.get("/page/runs").json()[0]["command"].endswith(f"--source {server}")


@pytest.mark.gate
def test_an_answer_is_to_be_had_from_any_server_once_one_of_them_tells_of_the_end() -> None:
    held = HeldRun()
    held.may_end.set()
    with two_servers(held, InMemory()) as (one, other):
        for _ in range(5):
            run = start(one, "held", EXPORT)
            assert ended(one, run)["state"] == "done"
            assert other.get(f"/page/runs/{run['id']}/result.csv").content == held.answer.csv


def test_a_run_is_cancelled_at_any_server() -> None:
    held = HeldRun()
    with two_servers(held, InMemory()) as (one, other):
        run = start(one, "held", EXPORT)
        assert held.begun.wait(WAIT_SECONDS)
        assert other.delete(f"/page/runs/{run['id']}").status_code == 202
        assert held.ended.wait(WAIT_SECONDS)
        assert ended(one, run)["state"] == ended(other, run)["state"] == "cancelled"


@pytest.mark.gate
def test_a_run_whose_server_is_gone_has_failed_and_goes_on_if_that_one_comes_back(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    held, clock = HeldRun(), Clock()
    documents = InMemory(clock)
    reached = Reached(documents)
    with two_servers(held, reached, documents) as (one, other):
        run = start(one, "held", EXPORT)
        path = f"/page/runs/{run['id']}"
        told = events_of(other, f"{path}/events")
        assert next(told)["state"] == "running"
        reached.cut()
        clock.now += records.ALIVE_SECONDS - 1
        assert other.get(path).json()["state"] == "running"
        clock.now += 1
        last = [*told][-1]
        assert (last["state"], last["error"]) == ("failed", records.LOST)
        assert states(other) == ["failed"]
        assert other.get(f"{path}/result.json").status_code == 409
        reached.cut(is_cut=False)
        eventually(lambda: states(other) == ["running"])
        held.may_end.set()
        assert ended(other, run)["state"] == "done"


@pytest.mark.gate
def test_a_run_ends_without_its_database_and_the_others_know_of_that_later(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], object]], None]
) -> None:
    monkeypatch.setattr(runs_module, "SHARE_AGAIN_SECONDS", 0.01)
    held = HeldRun()
    reached = Reached(InMemory())
    with two_servers(held, reached) as (one, other):
        run = start(one, "held", EXPORT)
        path = f"/page/runs/{run['id']}"
        told = events_of(other, f"{path}/events")
        next(told)
        reached.cut()
        assert {event["state"] for event in told} <= {"running"}  # the stream ends, and is asked for again
        held.may_end.set()
        assert ended(one, run)["state"] == "done"
        assert one.get(f"{path}/result.csv").content == held.answer.csv
        for route in ("/page/runs", path, f"{path}/events", f"{path}/result.csv"):
            answer = other.get(route)
            assert answer.status_code == 503, route
            assert answer.json()["detail"] == routes.NO_RUNS
            assert answer.headers["retry-after"]
        assert other.delete(path).status_code == 503
        assert one.post("/page/runs", json={"kind": "held", "export": EXPORT}).status_code == 503
        reached.cut(is_cut=False)
        eventually(lambda: states(other) == ["done"])
        assert other.get(f"{path}/result.csv").content == held.answer.csv


@pytest.fixture
def hanging() -> Iterator[tuple[Reached, Run]]:
    """Documents that do not answer any more, and a run that has ended meanwhile."""
    held = HeldRun()
    reached = Reached(InMemory())
    with closing(Runs(Records(reached))) as runs:
        run = runs.start(held, EXPORT)
        reached.answers.clear()
        held.may_end.set()
        assert run.over.wait(WAIT_SECONDS)
        yield reached, run
        reached.answers.set()


def test_the_end_of_a_run_is_told_when_the_other_servers_know_of_it(
    monkeypatch: pytest.MonkeyPatch, hanging: tuple[Reached, Run], eventually: Callable[[Callable[[], object]], None]
) -> None:
    monkeypatch.setattr(runs_module, "SHARED_SECONDS", 1000)
    reached, run = hanging
    assert run.state == run.record()["state"] == "running"
    reached.answers.set()
    eventually(lambda: run.state == "done")


@pytest.mark.gate
def test_a_run_ends_and_is_told_of_while_its_database_hangs(
    hanging: tuple[Reached, Run], eventually: Callable[[Callable[[], object]], None]
) -> None:
    _, run = hanging
    eventually(lambda: run.state == "done")
    assert run.record()["state"] == "done"


def test_requests_wait_for_a_database_that_hangs_no_longer_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "ASKING_AT_ONCE", 1)
    monkeypatch.setattr(routes, "ASK_SECONDS", 0.05)
    reached = Reached(InMemory())
    with page_over(MemorySource(SMALL), [HeldRun()], documents=reached) as (client, _):
        reached.answers.clear()
        first = threading.Thread(target=client.get, args=("/page/runs",))
        first.start()
        assert reached.asked.wait(WAIT_SECONDS)
        assert client.get("/page/runs/x").status_code == 503
        assert client.get("/page/about").status_code == 200  # what needs no database does not wait for it
        reached.answers.set()
        first.join()


@pytest.mark.gate
def test_an_answer_that_is_too_large_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "ANSWER_BYTES", 100)
    held = HeldRun(answer=Answer(b"x" * 50, b"y" * 51))
    held.may_end.set()
    with two_servers(held, InMemory()) as (one, other):
        run = start(one, "held", EXPORT)
        for client in (one, other):
            last = ended(client, run)
            assert last["state"] == "failed"
            assert last["error"] == "the answer has 101 bytes, and at most 100 are kept: run the command"
            assert client.get(f"/page/runs/{run['id']}/result.json").status_code == 409


@pytest.mark.gate
@pytest.mark.parametrize(("bound", "value"), [("KEPT", 2), ("ANSWER_BYTES", 250)])
def test_of_runs_that_are_too_many_or_too_large_the_oldest_are_forgotten_everywhere(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(runs_module, bound, value)
    held = HeldRun(answer=Answer(b"x" * 50, b"y" * 50))
    held.may_end.set()
    documents = InMemory()
    with two_servers(held, documents) as (one, other):
        started = []
        for _ in range(3):
            started.append(start(one, "held", EXPORT))
            ended(one, started[-1])
        kept = [run["id"] for run in started[:0:-1]]
        assert [run["id"] for run in one.get("/page/runs").json()] == kept
        assert [run["id"] for run in other.get("/page/runs").json()] == kept
        assert other.get(f"/page/runs/{started[0]['id']}").status_code == 404
        for kind in ("run", "run-json", "run-csv"):
            assert documents.names(kind) == kept[::-1]


def test_a_server_that_stops_lets_the_others_know_that_its_runs_are_cancelled() -> None:
    held, documents = HeldRun(), InMemory()
    source = MemorySource(SMALL)
    with page_over(source, [held], documents=documents) as (other, _):
        with page_over(source, [held], documents=documents) as (one, _):
            run = start(one, "held", EXPORT)
            assert held.begun.wait(WAIT_SECONDS)
        assert other.get(f"/page/runs/{run['id']}").json()["state"] == "cancelled"


def test_there_are_at_most_so_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RECORDS", 1)
    with two_servers(HeldRun(), InMemory()) as (one, other):
        start(one, "held", EXPORT)
        refused = other.post("/page/runs", json={"kind": "held", "export": EXPORT})
        assert refused.status_code == 503
        assert "too many runs are kept" in refused.json()["detail"]
        assert len(other.get("/page/runs").json()) == 1
