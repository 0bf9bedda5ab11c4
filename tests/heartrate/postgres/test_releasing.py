"""What is released is dropped, and nothing else; and only the leader does either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS, Told

from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.journal.postgres import dropping, leader, open_postgres_journal, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.heartrate.postgres.server import Cluster

    from mockexport.heartrate.journal.postgres.journal import PostgresJournal

pytestmark = pytest.mark.postgres

COUNT = "SELECT count(*) FROM mockexport_heartrate.batch"
MOVE = """UPDATE mockexport_heartrate.batch
SET part = ((extract(epoch FROM now())::bigint / 10 + 2) % 4)::smallint"""  # as if twenty seconds had passed


def leads(journal: PostgresJournal) -> int | str | None:
    try:
        return journal.lead()
    except JournalError as error:
        return str(error)


def test_what_is_released_is_dropped_from_the_partitions_that_are_not_written_to_now(
    postgres: Cluster, database: str, url: str
) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    assert journal.lead() == 1
    journal.append(b"x").result(WAIT_SECONDS)
    journal.release({}, 1)
    postgres.run(MOVE, database)
    journal.release({}, 2)
    assert postgres.run(COUNT, database) == [(1,)]
    journal.release(journal.positions, 3)
    assert postgres.run(COUNT, database) == [(0,)]
    assert journal.released == journal.positions
    journal.close()


def test_nothing_unreleased_is_dropped_however_slow_its_writer_is(
    postgres: Cluster,
    database: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """The slow writer commits when the leader has found that all is released, and waits for the lock to drop it."""
    monkeypatch.setattr(dropping, "LOCK_TIMEOUT", "10s")
    journal = open_postgres_journal(url, lambda *_: None)
    assert journal.lead() == 1
    journal.append(b"x").result(WAIT_SECONDS)
    postgres.run(MOVE, database)
    slow = """INSERT INTO mockexport_heartrate.batch
    SELECT part, slot, id + 1000, 'slow' FROM mockexport_heartrate.batch LIMIT 1"""
    with psycopg.connect(url) as connection:
        connection.execute(slow.encode())
        releasing = threading.Thread(target=journal.release, args=(journal.positions, 1))
        releasing.start()
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '%leader'"
        eventually(lambda: postgres.run(f"{waits} AND datname = '{database}'"))
        connection.commit()
    releasing.join()
    assert postgres.run(COUNT, database) == [(2,)]
    journal.catch_up()
    journal.release(journal.positions, 3)
    assert postgres.run(COUNT, database) == [(0,)]
    journal.close()


def test_a_partition_that_is_in_use_for_long_is_left_for_the_next_time(
    postgres: Cluster, database: str, url: str
) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    assert journal.lead() == 1
    journal.append(b"x").result(WAIT_SECONDS)
    postgres.run(MOVE, database)
    with psycopg.connect(url) as connection:
        connection.execute(COUNT.encode())
        journal.release(journal.positions, 1)
        assert postgres.run(COUNT, database) == [(1,)]
        assert journal.lead() == 1
    journal.release(journal.positions, 1)
    assert postgres.run(COUNT, database) == [(0,)]
    journal.close()


def test_what_is_dropped_while_it_is_to_be_read_is_told_to_be_released(
    postgres: Cluster, database: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    journal, follower = open_postgres_journal(url, lambda *_: None), open_postgres_journal(url, told)
    assert journal.lead() == 1
    journal.append(b"dropped").result(WAIT_SECONDS)
    postgres.run(MOVE, database)
    real = reader.deliver_new

    def drops_first(*arguments: Any) -> None:
        monkeypatch.setattr(reader, "deliver_new", real)
        journal.release(journal.positions, 1)
        assert postgres.run(COUNT, database) == [(0,)]
        real(*arguments)

    monkeypatch.setattr(reader, "deliver_new", drops_first)
    assert follower.catch_up() == journal.positions
    assert told.streams == {}
    journal.close()
    follower.close()


def test_what_was_dropped_before_it_could_be_read_is_told_to_be_released(
    postgres: Cluster, database: str, url: str
) -> None:
    told = Told()
    journal, follower = open_postgres_journal(url, lambda *_: None), open_postgres_journal(url, told)
    assert journal.lead() == 1
    for _ in range(3):
        journal.append(b"dropped").result(WAIT_SECONDS)
    postgres.run(MOVE, database)
    journal.release(journal.positions, 4)
    assert postgres.run(COUNT, database) == [(0,)]
    journal.append(b"kept").result(WAIT_SECONDS)
    assert follower.catch_up() == journal.released
    assert told.payloads() == {b"kept": 1}
    assert follower.positions == journal.positions
    assert follower.version == 4
    journal.close()
    follower.close()


def test_one_server_leads_and_the_next_one_has_a_larger_term(
    url: str, eventually: Callable[[Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "TRY_SECONDS", 0.01)
    first, second = open_postgres_journal(url, lambda *_: None), open_postgres_journal(url, lambda *_: None)
    assert (first.lead(), second.lead()) == (1, None)
    assert (first.role, second.role) == ("leader", "follower")
    second.catch_up()
    assert second.term == 1
    with pytest.raises(JournalError, match="is not the leader"):
        second.release({}, 1)
    with pytest.raises(JournalError, match="is not the leader"):
        second.note(1)
    with pytest.raises(JournalError, match="is not the leader"):
        second.see(1)
    first.note(7, checkpoint=5)
    first.see(99)
    first.close()
    eventually(lambda: second.lead() == 2)
    second.catch_up()
    assert (second.version, second.checkpoint, second.seen) == (7, 5, 99)
    second.close()


def test_a_leader_whose_session_ended_is_none_and_may_release_nothing(
    postgres: Cluster,
    database: str,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    monkeypatch.setattr(leader, "TRY_SECONDS", 0.01)
    first, second = open_postgres_journal(url, lambda *_: None), open_postgres_journal(url, lambda *_: None)
    assert first.lead() == 1
    postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE application_name = 'mockexport heart-rate leader' AND datname = '{database}'"
    )
    eventually(lambda: second.lead() == 2)
    with pytest.raises(JournalError):
        first.release({}, 9)
    eventually(lambda: leads(first) is None)
    assert postgres.run("SELECT version FROM mockexport_heartrate.meta", database) == [(None,)]
    first.close()
    second.close()


LEADS = """
import sys, time
from mockexport.heartrate.journal.postgres import dropping, leader, open_postgres_journal, reader
leader.IDLE_SECONDS, leader.KEEP_ALIVE_SECONDS = 2, 0.3
journal = open_postgres_journal(sys.argv[1], lambda *_: None)
while True:
    try:
        print(journal.lead(), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
    time.sleep(0.1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process")
def test_a_leader_that_was_stopped_loses_the_lock_and_knows_it_when_it_goes_on(
    url: str, eventually: Callable[[Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "TRY_SECONDS", 0.01)
    second = open_postgres_journal(url, lambda *_: None)
    stopped = subprocess.Popen([sys.executable, "-c", LEADS, url], stdout=subprocess.PIPE, text=True)
    assert stopped.stdout
    try:
        assert stopped.stdout.readline() == "1\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        eventually(lambda: second.lead() == 2)
        os.kill(stopped.pid, signal.SIGCONT)
        lines = iter(stopped.stdout.readline, "")
        assert next(line for line in lines if line != "1\n") in ("JournalError\n", "None\n")
        assert next(line for line in lines if line != "JournalError\n") == "None\n"
    finally:
        stopped.kill()
        stopped.communicate()
    second.close()
