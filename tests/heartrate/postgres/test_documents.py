"""Documents that servers share: what is promised, in memory and in PostgreSQL; the first in the default run, too."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mockexport.errors import UnreachableError
from mockexport.heartrate.journal.postgres import documents as documents_module
from mockexport.heartrate.journal.postgres import open_postgres_journal
from mockexport.heartrate.journal.postgres.schema import DOCUMENT_LOCK
from mockexport.shared import Document, InMemory, NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.heartrate.postgres.server import Cluster

    from mockexport.heartrate.journal.postgres.journal import PostgresJournal
    from mockexport.shared import Documents


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(url: str) -> Generator[PostgresJournal]:
    opened = open_postgres_journal(url, lambda *_: None)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def documents(request: pytest.FixtureRequest, clock: Clock) -> Documents:
    if request.param == "memory":
        return InMemory(clock)
    found: Documents = request.getfixturevalue("journal").documents
    found.clock = clock
    return found


def test_a_document_is_found_by_its_kind_and_name_until_it_expires(documents: Documents, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1010, most=5)
    assert documents.get("job", "a") == Document(b"1", 1010)
    assert documents.get("job", "b") is documents.get("run", "a") is None
    clock.now = 1010
    assert documents.get("job", "a") is documents.extend("job", "a", 2000) is None
    assert documents.names("job") == []
    assert not documents.delete("job", "a")


def test_a_name_is_added_once_and_replaced_only_by_put(documents: Documents, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1010, most=5)
    assert not documents.add("job", "a", b"2", 1020, most=5)
    assert documents.get("job", "a") == Document(b"1", 1010)
    documents.put("job", "a", b"3", 1030)
    assert documents.get("job", "a") == Document(b"3", 1030)
    clock.now = 1030
    assert documents.add("job", "a", b"4", 1040, most=5)  # since the one before has expired


def test_there_are_at_most_so_many_of_a_kind_and_the_error_tells_until_when(documents: Documents, clock: Clock) -> None:
    assert documents.add("job", "a", b"1", 1020, most=2)
    assert documents.add("job", "b", b"2", 1010, most=2)
    assert documents.add("run", "c", b"3", 1005, most=2)
    with pytest.raises(NoRoomError) as raised:
        documents.add("job", "c", b"3", 1030, most=2)
    assert raised.value.expires == 1010
    clock.now = 1010
    assert documents.add("job", "c", b"3", 1030, most=2)
    assert documents.names("job") == ["a", "c"]


def test_extending_makes_it_expire_later_and_never_earlier(documents: Documents) -> None:
    documents.put("job", "a", b"1", 1010)
    assert documents.extend("job", "a", 1020) == Document(b"1", 1020)
    assert documents.extend("job", "a", 1015) == Document(b"1", 1020)


def test_what_is_deleted_is_gone(documents: Documents) -> None:
    documents.put("job", "a", b"1", 1010)
    assert documents.delete("job", "a")
    assert not documents.delete("job", "a")
    assert documents.get("job", "a") is None


def test_names_are_in_the_order_of_being_stored_and_a_new_one_after_an_expired_one_is_the_last(
    documents: Documents, clock: Clock
) -> None:
    for name, expires in (("c", 1010), ("a", 1030), ("b", 1030)):
        documents.put("job", name, b"", expires)
    documents.put("job", "a", b"again", 1040)
    assert documents.names("job") == ["c", "a", "b"]
    clock.now = 1010
    documents.put("job", "c", b"new", 1020)
    assert documents.names("job") == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["", "\0", "\ud800", "\U0001f600", "'; --", "a" * 2000])
def test_any_text_is_a_name(documents: Documents, name: str) -> None:
    assert documents.get("job", name) is None
    assert documents.add("job", name, b"1", 1010, most=1)
    assert documents.names("job") == [name]
    assert documents.get("job", name) == Document(b"1", 1010)
    assert documents.delete("job", name)


def test_bodies_are_any_bytes_some_megabytes_too_and_times_are_kept_exactly(documents: Documents) -> None:
    body, expires = bytes(range(256)) * (5 << 12), 1_700_000_000.1234567
    documents.put("run", "a", body, expires)
    assert documents.get("run", "a") == Document(body, expires)


@pytest.mark.postgres
def test_a_document_of_one_server_is_there_at_all_others(journal: PostgresJournal, url: str) -> None:
    other = open_postgres_journal(url, lambda *_: None)
    journal.documents.put("job", "a", b"1", 1e11)
    assert other.documents.get("job", "a") == Document(b"1", 1e11)
    assert other.documents.delete("job", "a")
    assert journal.documents.get("job", "a") is None
    other.close()


@pytest.mark.postgres
def test_servers_that_add_at_once_add_each_name_once_and_no_more_than_may_be(url: str) -> None:
    """Each of four servers tries to add all of 12 names, in an order of its own, where there is room for 7."""
    journals = [open_postgres_journal(url, lambda *_: None) for _ in range(4)]
    start = threading.Barrier(len(journals))
    added: Counter[str] = Counter()
    refused: list[int] = []

    def add(number: int) -> None:
        start.wait()
        for turn in range(12):
            name = str((turn + 3 * number) % 12)
            try:
                if journals[number].documents.add("job", name, b"", 1e11, most=7):
                    added[name] += 1
            except NoRoomError:
                refused.append(number)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(len(journals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 7
    assert set(added.values()) == {1}
    assert sorted(journals[0].documents.names("job")) == sorted(added)
    assert len(refused) == 4 * 5
    for journal in journals:
        journal.close()


@pytest.mark.postgres
def test_expired_documents_of_all_kinds_are_deleted_by_who_adds(
    journal: PostgresJournal, postgres: Cluster, database: str, clock: Clock
) -> None:
    journal.documents.clock = clock
    journal.documents.put("job", "a", b"", 1010)
    journal.documents.put("run", "b", b"", 1020)
    clock.now = 1020
    journal.documents.add("token", "c", b"", 1030, most=1)
    assert postgres.run("SELECT kind FROM mockexport_heartrate.document", database) == [("token",)]


@pytest.mark.postgres
def test_a_session_that_was_ended_is_opened_anew(
    journal: PostgresJournal, postgres: Cluster, database: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    journal.documents.put("job", "a", b"1", 1e11)
    ours = f"FROM pg_stat_activity WHERE datname = '{database}' AND application_name LIKE '%documents'"
    assert postgres.run(f"SELECT pg_terminate_backend(pid, 10000) {ours}") == [(True,)]

    def answers() -> bool:
        try:
            return journal.documents.get("job", "a") == Document(b"1", 1e11)
        except UnreachableError:  # the end of the session had not come by then
            return False

    eventually(answers)


@pytest.mark.postgres
def test_a_database_that_does_not_answer_is_one_error_and_fine_once_it_does(
    journal: PostgresJournal, postgres: Cluster, database: str
) -> None:
    journal.documents.put("job", "a", b"1", 1e11)
    postgres.run("ALTER TABLE mockexport_heartrate.document RENAME TO away", database)
    with pytest.raises(UnreachableError, match=r"^the journal postgresql://\S+ failed: .*does not exist"):
        journal.documents.get("job", "a")
    postgres.run("ALTER TABLE mockexport_heartrate.away RENAME TO document", database)
    assert journal.documents.get("job", "a") == Document(b"1", 1e11)


@pytest.mark.postgres
def test_a_server_that_stopped_while_it_added_does_not_keep_others_from_adding(
    journal: PostgresJournal, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(documents_module.SETTINGS, "idle_in_transaction_session_timeout", "100ms")
    stopped = open_postgres_journal(url, lambda *_: None)

    def stop_while_adding() -> None:
        with stopped.documents._lent() as session, session.transaction() as cursor:
            cursor.execute(documents_module.LOCK, (DOCUMENT_LOCK,))
            assert journal.documents.add("job", "a", b"1", 1e11, most=1)
            cursor.execute("SELECT")

    with pytest.raises(UnreachableError, match="idle-in-transaction"):
        stop_while_adding()
    assert not stopped.documents.add("job", "a", b"1", 1e11, most=1)
    stopped.close()


@pytest.mark.postgres
def test_after_closing_it_is_an_error(url: str) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    journal.documents.put("job", "a", b"1", 1e11)
    journal.close()
    with pytest.raises(UnreachableError, match="is closed"):
        journal.documents.get("job", "a")
