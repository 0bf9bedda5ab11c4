"""No thread dies in silence: whatever goes wrong in one, it goes on, or the service says that it is not well."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from tests.heartrate.bodies import GOOD
from tests.heartrate.serving import ONE, FakeService, kept, served
from tests.heartrate.synthetic import TEN, batch
from tests.sources import WAIT_SECONDS

from mockexport.errors import UnreachableError
from mockexport.heartrate import background, table
from mockexport.heartrate.background import BackgroundThread
from mockexport.heartrate.ingest import routes
from mockexport.heartrate.ingest.loop_bridge import LoopBridge
from mockexport.heartrate.journal import JournalError, SqliteJournal, read_journal
from mockexport.heartrate.journal import sqlite as journal_file
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table import pending, queries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.heartrate.journal import Entry

QUERY = {"user_id": "user_123", "start": "2024-01-15T10:00:00Z", "end": "2024-01-15T10:00:00Z"}


def panic(*_: object, **__: object) -> Any:
    """A real panic of Polars, of which there are many: it is a BaseException, and no Exception."""
    str(pl.DataFrame({"day": pl.Series([-(2**31) + 1], dtype=pl.Int32).cast(pl.Date)}))


def out_of_memory(*_: object, **__: object) -> Any:
    raise MemoryError


def ends_the_thread(*_: object, **__: object) -> Any:
    raise SystemExit


FAULTS = [panic, out_of_memory, ends_the_thread]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PAUSE_AFTER_FAILURE", 0.01)
    monkeypatch.setenv("RUST_BACKTRACE", "0")


def test_a_panic_of_polars_is_no_exception() -> None:
    with pytest.raises(pl.exceptions.PanicException):
        panic()
    assert not issubclass(pl.exceptions.PanicException, Exception)


@pytest.mark.gate
@pytest.mark.parametrize("fault", [panic, out_of_memory])
@pytest.mark.parametrize(("module", "name"), [(table, "flush"), (pending, "frame_of")], ids=["flush", "frames"])
def test_a_flusher_that_fails_makes_the_service_unwell_and_goes_on_when_it_can(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
    module: Any,
    name: str,
    fault: Callable[..., Any],
) -> None:
    with kept(tmp_path, flush_seconds=0.01) as (client, service):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fault)
            assert client.post(ONE, json=GOOD).status_code == 202
            eventually(lambda: client.get("/health").status_code == 503)
            assert client.get("/health").json()["detail"].startswith("cannot ")
            refused = client.post(ONE, json=GOOD)
            assert refused.status_code == 503
            assert refused.json()["detail"].startswith("the readings were not stored: cannot ")
            assert client.get(ONE, params=QUERY).status_code in {200, 503}
        eventually(lambda: client.get("/health").status_code == 200)
        eventually(lambda: service.statistics().files == 1)
        assert client.post(ONE, json=GOOD).status_code == 202
        assert client.get(ONE, params=QUERY).json()["count"] == 1


@pytest.mark.gate
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["compact", "tidy"])
def test_maintenance_that_fails_is_reported_and_retried_and_costs_no_reading(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
    name: str,
    fault: Callable[..., Any],
) -> None:
    monkeypatch.setattr("mockexport.heartrate.service.MAINTENANCE_SECONDS", 0.01)
    with kept(tmp_path, flush_seconds=0.01) as (client, _):
        with monkeypatch.context() as patched:
            patched.setattr(table, name, fault)
            eventually(lambda: client.get("/health").status_code == 503)
            assert client.get("/health").json()["detail"].startswith(f"cannot {name}")
            assert client.post(ONE, json=GOOD).status_code == 202
        eventually(lambda: client.get("/health").status_code == 200)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_all_the_same_is_seen(eventually: Callable[[Callable[[], object]], None]) -> None:
    def turn(_: BackgroundThread) -> None:
        raise SystemExit

    ended = BackgroundThread("flusher", 0.001, turn, threading.Event())
    eventually(lambda: ended.problem() == "the thread 'heart-rate flusher' has ended; restart the server")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("places", [["_entries"], ["_write"], ["_on_commit"], ["_commit"], ["_write", "_repair"]])
def test_a_fault_anywhere_in_the_journals_thread_refuses_its_group_and_the_thread_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[str], fault: Callable[..., Any]
) -> None:
    told: list[Entry] = []
    broken = threading.Event()

    def add(_stream: str, entries: list[Entry]) -> None:
        if places == ["_on_commit"] and broken.is_set():
            fault()
        told.extend(entries)

    def break_down(place: str) -> None:
        real = getattr(SqliteJournal, place)

        def faulty(self: SqliteJournal, *arguments: Any) -> Any:
            if broken.is_set():
                fault()
            return real(self, *arguments)

        monkeypatch.setattr(SqliteJournal, place, faulty)

    for place in places:
        if place != "_on_commit":
            break_down(place)
    journal = SqliteJournal(tmp_path / "journal.sqlite", add)
    journal.append(b"before").result(WAIT_SECONDS)
    broken.set()
    for _ in range(2):
        with pytest.raises(JournalError, match="can't be written"):
            journal.append(b"lost").result(WAIT_SECONDS)
    assert "can't be written" in str(journal.problem())
    broken.clear()
    journal.append(b"after").result(WAIT_SECONDS)
    assert journal.problem() is None
    journal.close()
    assert journal.waiting_bytes == 0
    found = read_journal(tmp_path / "journal.sqlite")
    assert found
    assert [entry.payload for entry in found.entries] == [b"before", b"after"]
    assert told == found.entries


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_journal_whose_thread_has_ended_takes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], object]], None]
) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite", lambda *_: None)
    monkeypatch.setattr(SqliteJournal, "_answer", ends_the_thread)
    journal.append(b"x")
    eventually(lambda: journal.problem() is not None)
    with pytest.raises(JournalError, match="lost its writer thread; restart the server"):
        journal.append(b"y")


def test_whoever_is_told_and_fails_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    hold, go_on = threading.Event(), threading.Event()

    def add(*_: object) -> None:
        hold.set()
        go_on.wait(WAIT_SECONDS)

    journal = SqliteJournal(tmp_path / "journal.sqlite", add)
    first = journal.append(b"0")
    assert hold.wait(WAIT_SECONDS)
    second, third = journal.append(b"1"), journal.append(b"2")
    second.add_done_callback(panic)
    go_on.set()
    for future in (first, second, third, journal.append(b"3")):
        future.result(WAIT_SECONDS)
    journal.close()


class Failing:
    """A connection that can do nothing but close."""

    def execute(self, _: str) -> None:
        raise MemoryError

    def close(self) -> None:
        pass


def test_the_thread_that_copies_the_log_outlives_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], object]], None]
) -> None:
    warned: list[object] = []
    monkeypatch.setattr(journal_file.log, "warning", lambda *told: warned.append(told))
    checkpointer = journal_file.Checkpointer(tmp_path / "journal.sqlite")
    monkeypatch.setattr(checkpointer, "_connection", Failing())
    checkpointer.wrote(journal_file.CHECKPOINT_BYTES)
    eventually(lambda: warned)
    checkpointer.wrote(journal_file.CHECKPOINT_BYTES)
    eventually(lambda: len(warned) > 1)
    checkpointer.close()


class DeafLoop(asyncio.SelectorEventLoop):
    """An event loop that can't be woken once."""

    deaf = True

    def call_soon_threadsafe(self, callback: Any, *arguments: Any, context: Any = None) -> Any:  # type: ignore[override]
        if self.deaf and getattr(callback, "__self__", None).__class__ is LoopBridge:
            self.deaf = False
            raise MemoryError
        return super().call_soon_threadsafe(callback, *arguments, context=context)


def test_a_wake_up_that_failed_is_made_good_by_the_next_one() -> None:
    async def posts() -> None:
        bridge, futures = LoopBridge(), [Future[None]() for _ in range(3)]
        waiting = [asyncio.create_task(bridge.wait(future, WAIT_SECONDS)) for future in futures]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as thread:
            for future in futures:
                thread.submit(future.set_result, None)
            await asyncio.gather(*waiting)

    loop = DeafLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(posts(), WAIT_SECONDS / 2))
        assert not loop.deaf
    finally:
        loop.close()


@pytest.mark.parametrize("fault", [panic, out_of_memory])
@pytest.mark.parametrize(("module", "name"), [(table, "points"), (table, "days_in"), (queries, "distinct_readings")])
def test_a_fault_while_the_table_is_read_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fault: Callable[..., Any]
) -> None:
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(("user_123", "d", TEN, 60.0))).result(60)
        (day,) = service.days()
        monkeypatch.setattr(module, name, fault)
        ask = {"points": lambda: service.query("user_123", TEN, TEN), "days_in": service.days}
        with pytest.raises(UnreachableError, match="cannot read the table: "):
            ask.get(name, lambda: list(service.rows(day)))()


def test_a_panic_in_a_query_is_503_and_the_next_one_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(tmp_path, flush_seconds=3600) as (client, _):
        assert client.post(ONE, json=GOOD).status_code == 202
        with monkeypatch.context() as patched:
            patched.setattr(table, "points", panic)
            for _ in range(2 * routes.QUERIES_AT_ONCE):
                answer = client.get(ONE, params=QUERY)
                assert (answer.status_code, "cannot read the table" in answer.text) == (503, True)
        assert client.get(ONE, params=QUERY).status_code == 200


@pytest.mark.gate
def test_queries_that_timed_out_hold_their_place_until_they_end(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], object]], None]
) -> None:
    monkeypatch.setattr(routes, "QUERY_SECONDS", 0.3)
    go_on, lock, running, most = threading.Event(), threading.Lock(), 0, 0

    def hold(_: str) -> list[Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(WAIT_SECONDS)
        with lock:
            running -= 1
        return []

    service = FakeService(answering=hold)
    with served(service) as client, ThreadPoolExecutor(16) as others:
        answers = [others.submit(client.get, ONE, params=QUERY) for _ in range(16)]
        assert {answer.result().status_code for answer in answers} == {503}
        told = [client.get(ONE, params=QUERY) for _ in range(3)]
        assert running == most == routes.QUERIES_AT_ONCE
        assert {answer.status_code for answer in told} == {503}
        assert all("too many queries at once" in answer.text for answer in told)
        monkeypatch.setattr(routes, "QUERY_SECONDS", WAIT_SECONDS)  # it is the limit of the metrics, too
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200
        go_on.set()
        eventually(lambda: client.get(ONE, params=QUERY).status_code == 404)
    assert most == routes.QUERIES_AT_ONCE


def test_figures_that_take_long_do_not_keep_health_from_answering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Slow(FakeService):
        def statistics(self) -> dict[str, Any]:
            asked.set()
            go_on.wait(WAIT_SECONDS)
            return {}

    with served(Slow()) as client, ThreadPoolExecutor(1) as other:
        figures = other.submit(client.get, "/metrics")
        assert asked.wait(WAIT_SECONDS)
        monkeypatch.setattr(routes, "JOURNAL_SECONDS", 5.0)
        began = time.monotonic()
        assert client.get("/health").status_code == 200
        assert time.monotonic() - began < WAIT_SECONDS
        go_on.set()
        assert figures.result().status_code == 200
