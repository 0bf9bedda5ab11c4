"""The journal in PostgreSQL: what was acknowledged is there once, in order, for every server."""

from __future__ import annotations

from collections import Counter
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS, Told

from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.journal.postgres import open_postgres_journal, writer
from mockexport.heartrate.journal.postgres.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.heartrate.postgres.server import Cluster

    from mockexport.heartrate.journal.postgres.journal import PostgresJournal

pytestmark = pytest.mark.postgres

BATCHES = 150


def write(journal: PostgresJournal, name: int, at_once: int, acknowledged: list[bytes]) -> None:
    waiting: list[tuple[bytes, Future[None]]] = []
    for number in range(BATCHES):
        payload = b"%d-%d" % (name, number)
        waiting.append((payload, journal.append(payload)))
        if len(waiting) > at_once or number == BATCHES - 1:
            for done, future in waiting:
                future.result(WAIT_SECONDS)
                acknowledged.append(done)
            waiting = []


def follow(journal: PostgresJournal, told: Told, acknowledged: list[bytes], missed: list[bytes], stop: Event) -> None:
    while not stop.is_set():
        before = len(acknowledged)
        journal.catch_up(WAIT_SECONDS)
        found = told.payloads()
        missed.extend(payload for payload in acknowledged[:before] if payload not in found)


def test_writers_and_a_follower_neither_skip_nor_double_nor_reorder_a_batch(url: str) -> None:
    """Each catches up all the time; and what was acknowledged before a call was told when the call returns."""
    tellings = [Told() for _ in range(3)]
    journals = [open_postgres_journal(url, told) for told in tellings]
    acknowledged: list[bytes] = []
    missed: list[bytes] = []
    stop = Event()
    writers = [Thread(target=write, args=(journals[n % 2], n, n * 4, acknowledged)) for n in range(6)]
    followers = [
        Thread(target=follow, args=(journals[n], tellings[n], acknowledged, missed, stop)) for n in (0, 1, 2, 2)
    ]
    for thread in [*followers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in followers:
        thread.join()
    assert missed == []
    assert len(acknowledged) == 6 * BATCHES
    for journal, told in zip(journals, tellings, strict=True):
        journal.catch_up(WAIT_SECONDS)
        assert told.payloads() == Counter(acknowledged)
        assert {stream: entries[-1].id for stream, entries in told.streams.items()} == journal.positions
        assert told.in_order()
        journal.close()


def test_an_id_is_larger_than_those_of_all_batches_that_were_acknowledged_before_on_any_server(url: str) -> None:
    told = Told()
    first, second = open_postgres_journal(url, told), open_postgres_journal(url, lambda *_: None)
    for number in range(20):
        (first, second)[number % 2].append(b"%d" % number).result(WAIT_SECONDS)
    first.catch_up()
    assert len(told.streams) == 2
    entries = sorted(entry for entries in told.streams.values() for entry in entries)
    assert [entry.payload for entry in entries] == [b"%d" % number for number in range(20)]
    first.close()
    second.close()


def test_a_closed_journal_keeps_what_waited_and_takes_nothing_more(url: str) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    futures = [journal.append(b"x") for _ in range(100)]
    journal.close()
    assert all(future.done() and not future.exception() for future in futures)
    with pytest.raises(JournalError, match="closed"):
        journal.append(b"late")
    told = Told()
    journal = open_postgres_journal(url, told)
    journal.catch_up()
    assert told.payloads() == {b"x": 100}
    journal.close()


def test_a_primary_without_its_standby_is_noticed_before_a_batch_comes_and_so_is_its_return(
    postgres: Cluster, url: str, monkeypatch: pytest.MonkeyPatch, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """So is one in whose place the standby was promoted: it has lost it, too."""
    monkeypatch.setattr(writer, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(Session.run, "__defaults__", ((), 1.0))  # how long a commit may wait
    journal = open_postgres_journal(url, Told())
    journal.append(b"x").result(WAIT_SECONDS)
    assert journal.problem() is None
    with postgres.settings(synchronous_standby_names="missing"):
        eventually(lambda: "synchronous replication" in str(journal.problem()))
    eventually(lambda: journal.problem() is None)
    journal.close()
