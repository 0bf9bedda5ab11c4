"""The journal in PostgreSQL when something breaks: nothing acknowledged is lost, and nothing is told twice."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS, Told

from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.journal.postgres import open_postgres_journal, session, writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.heartrate.postgres.server import Cluster

    from mockexport.heartrate.journal.postgres.journal import PostgresJournal

pytestmark = pytest.mark.postgres

BACKENDS = "FROM pg_stat_activity WHERE application_name LIKE 'mockexport heart-rate %' AND datname = '{database}'"


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_commit_whose_wait_for_a_standby_was_cancelled_is_refused_and_may_be_there(
    postgres: Cluster, database: str, url: str, how: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    told, other = Told(), Told()
    journal, follower = open_postgres_journal(url, told), open_postgres_journal(url, other)
    journal.append(b"before").result(WAIT_SECONDS)
    waits = f"{BACKENDS.format(database=database)} AND wait_event = 'SyncRep'"
    with postgres.settings(synchronous_standby_names="missing"):
        future = journal.append(b"unknown")
        eventually(lambda: postgres.run(f"SELECT {how}(pid) {waits}"))
        with pytest.raises(JournalError, match=r"cancel.*synchronous replication"):
            future.result(WAIT_SECONDS)
        assert told.payloads() == {b"before": 1}
    journal.append(b"after").result(WAIT_SECONDS)
    for caught_up, seen in ((journal, told), (follower, other)):
        caught_up.catch_up()
        assert seen.payloads() == {b"before": 1, b"unknown": 1, b"after": 1}
        assert seen.in_order()
        caught_up.close()


def test_a_standby_that_never_answers_does_not_hold_a_batch_for_ever(
    postgres: Cluster, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """statement_timeout would not end the wait, which is a part of the commit."""
    monkeypatch.setattr(session.Session.run, "__defaults__", ((), 1.0))
    journal = open_postgres_journal(url, lambda *_: None)
    journal.append(b"before").result(WAIT_SECONDS)
    with postgres.settings(synchronous_standby_names="missing"):
        with pytest.raises(JournalError, match="synchronous replication"):
            journal.append(b"unknown").result(WAIT_SECONDS)
        assert "synchronous replication" in str(journal.problem())
    journal.append(b"after").result(WAIT_SECONDS)
    assert journal.problem() is None
    journal.close()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_session_is_ended_at_whatever_step_nothing_acknowledged_is_lost_or_told_twice(
    postgres: Cluster,
    database: str,
    url: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)
    chance = random.Random(seed)
    tellings = [Told(), Told()]
    journals = [open_postgres_journal(url, told) for told in tellings]
    acknowledged: list[bytes] = []
    sent: list[bytes] = []
    stop = threading.Event()

    def write(journal: PostgresJournal, name: int) -> None:
        number = 0
        while not stop.is_set():
            batch = [b"%d-%d" % (name, number := number + 1) for _ in range(8)]
            sent.extend(batch)
            for payload, future in [(payload, journal.append(payload)) for payload in batch]:
                with contextlib.suppress(JournalError):
                    future.result(WAIT_SECONDS)
                    acknowledged.append(payload)
            with contextlib.suppress(JournalError):
                journal.catch_up()

    threads = [threading.Thread(target=write, args=(journals[n % 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        for _ in range(25):
            pids = admin.execute(f"SELECT pid {BACKENDS.format(database=database)}".encode()).fetchall()
            admin.execute("SELECT pg_terminate_backend(%s)", chance.choice(pids or [(0,)]))
            wanted = len(acknowledged) + chance.randrange(1, 60)
            eventually(lambda wanted=wanted: len(acknowledged) >= wanted)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    third = Told()
    journals.append(open_postgres_journal(url, third))
    for journal, told in zip(journals, [*tellings, third], strict=True):
        journal.catch_up()
        assert told.in_order()
        assert set(acknowledged) <= set(told.payloads()) <= set(sent)
        assert set(told.payloads().values()) == {1}
        journal.close()
    assert tellings[0].streams == tellings[1].streams == third.streams
    assert Counter(acknowledged).most_common(1)[0][1] == 1


def test_a_session_that_ended_while_it_was_idle_costs_no_batch(
    postgres: Cluster, database: str, url: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    told = Told()
    journal = open_postgres_journal(url, told)
    journal.append(b"before").result(WAIT_SECONDS)
    there = BACKENDS.format(database=database)
    postgres.run(f"SELECT pg_terminate_backend(pid) {there}")
    eventually(lambda: not postgres.run(f"SELECT {there}"))
    journal.append(b"after").result(WAIT_SECONDS)
    journal.catch_up()
    assert told.payloads() == {b"before": 1, b"after": 1}
    journal.close()


@pytest.mark.parametrize("known_by", ["this server", "the database", "the table"])
def test_an_id_is_larger_than_all_that_are_known_even_if_the_sequence_went_back(
    postgres: Cluster, database: str, url: str, known_by: str
) -> None:
    """As on a promoted standby, which may lack the newest batches; or the table was written by another journal."""
    told, later = Told(), Told()
    journal = open_postgres_journal(url, told)
    journal.append(b"before").result(WAIT_SECONDS)
    newest = told.ids()[-1]
    if known_by != "this server":
        journal.close()
    if known_by != "the database":
        postgres.run("DELETE FROM mockexport_heartrate.batch", database)
    postgres.run("SELECT setval('mockexport_heartrate.batch_id', 1)", database)
    if known_by == "this server":
        with pytest.raises(JournalError, match="ids went back"):
            journal.append(b"refused").result(WAIT_SECONDS)
        later = told
    else:
        journal = open_postgres_journal(url, later)
        journal.continue_after(newest if known_by == "the table" else 0)
    journal.append(b"after").result(WAIT_SECONDS)
    assert later.payloads()[b"after"] == 1
    assert later.ids()[-1] > newest
    assert later.in_order()
    journal.close()


def test_a_journal_that_another_one_replaced_is_not_written(postgres: Cluster, database: str, url: str) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    journal.append(b"before").result(WAIT_SECONDS)
    postgres.run("UPDATE mockexport_heartrate.meta SET journal = 'another'", database)
    postgres.run(f"SELECT pg_terminate_backend(pid) {BACKENDS.format(database=database)}")
    with pytest.raises(JournalError):
        journal.append(b"lost").result(WAIT_SECONDS)
    with pytest.raises(JournalError, match="is another one now; restart the server"):
        journal.catch_up()
    assert postgres.run("SELECT count(*) FROM mockexport_heartrate.batch", database) == [(1,)]
    journal.close()


def test_a_pooler_that_changes_sessions_is_refused_and_nothing_is_stored(
    postgres: Cluster, database: str, url: str
) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    journal.append(b"before").result(WAIT_SECONDS)
    assert journal._writer._session
    journal._writer._session.pid = 1
    with pytest.raises(JournalError, match="behind a pooler; connect to the database itself"):
        journal.append(b"lost").result(WAIT_SECONDS)
    assert postgres.run("SELECT count(*) FROM mockexport_heartrate.batch", database) == [(1,)]
    journal.append(b"after").result(WAIT_SECONDS)
    journal.close()


def test_whoever_is_told_and_fails_gets_the_batch_again(url: str) -> None:
    told = Told()
    broken = threading.Event()

    def tell(stream: str, entries: list[object]) -> None:
        if broken.is_set():
            raise MemoryError
        told(stream, entries)  # type: ignore[arg-type]

    journal = open_postgres_journal(url, tell)  # type: ignore[arg-type]
    journal.append(b"before").result(WAIT_SECONDS)
    broken.set()
    with pytest.raises(JournalError):
        journal.append(b"unknown").result(WAIT_SECONDS)
    with pytest.raises(MemoryError):
        journal.catch_up()
    broken.clear()
    journal.append(b"after").result(WAIT_SECONDS)  # in another slot, if the server has not freed the first one yet
    journal.catch_up()
    assert told.payloads() == {b"before": 1, b"unknown": 1, b"after": 1}
    assert told.in_order()
    journal.close()
