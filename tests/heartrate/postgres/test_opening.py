"""Which databases are taken for a journal, and what is said of those that are not."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS

from mockexport.errors import MockExportError, UnreachableError, UsageError
from mockexport.heartrate.journal.postgres import open_postgres_journal
from mockexport.heartrate.journal.postgres.address import address_of
from mockexport.heartrate.journal.postgres.schema import FORMAT

if TYPE_CHECKING:
    from tests.heartrate.postgres.server import Cluster

SECRET = "hunter2"


def open_briefly(url: str, **options: object) -> None:
    open_postgres_journal(url, lambda *_: None, **options).close()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://me@host:5433/db", "postgresql://host:5433/db"),
        ("postgresql://one,two/db?target_session_attrs=read-write", "postgresql://one,two/db"),
        ("postgresql://one:1,two:2/db?sslmode=verify-full", "postgresql://one:1,two:2/db"),
        ("postgresql://[2001:db8::1]:5433/db", "postgresql://[2001:db8::1]:5433/db"),
        ("postgresql:///db?host=/run/postgresql&port=5433", "postgresql:///db?host=/run/postgresql&port=5433"),
        ("postgresql://?service=journal", "postgresql:///?service=journal"),
    ],
)
def test_a_place_is_shown_without_its_user(url: str, place: str) -> None:
    assert address_of(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me:{SECRET}@one,two/db",
        f"postgresql://host/db?password={SECRET}",
        f"postgresql://host/db?user=me&sslpassword={SECRET}",
        f"postgresql://me:{SECRET}%zz@host/db",
        f"postgresql://me:{SECRET}@host:port:5432/db",
        f"postgresql://host/db?pasword={SECRET}",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError) as caught:
        open_briefly(url)
    assert SECRET not in str(caught.value) + caplog.text
    assert "PGPASSFILE" in str(caught.value) or "is not valid" in str(caught.value)
    assert caught.value.__cause__ is None


def test_nobody_there_is_told_with_where_and_what_to_do() -> None:
    with pytest.raises(UnreachableError, match=r"postgresql://127\.0\.0\.1:1/db can't be reached: .*refused.*; check"):
        open_briefly("postgresql://me@127.0.0.1:1/db")


@pytest.mark.postgres
@pytest.mark.parametrize(("change", "age"), [(+1, "newer"), (-1, "older")])
def test_a_journal_of_another_format_is_refused_by_name_and_left_as_it_is(
    postgres: Cluster, database: str, url: str, change: int, age: str
) -> None:
    open_briefly(url)
    found = FORMAT + change
    postgres.run(f"UPDATE mockexport_heartrate.meta SET format = {found}", database)
    with pytest.raises(UsageError, match=rf"has the format {found}, and this version reads {FORMAT}: .*{age}"):
        open_briefly(url)
    assert postgres.run("SELECT format FROM mockexport_heartrate.meta", database) == [(found,)]


@pytest.mark.postgres
def test_servers_that_start_together_make_one_journal(url: str) -> None:
    ids: list[str] = []

    def start() -> None:
        journal = open_postgres_journal(url, lambda *_: None)
        ids.append(journal.id)
        journal.append(b"x").result(WAIT_SECONDS)
        journal.close()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"synchronous_commit": "off"}, "synchronous_commit = off"),
        ({"synchronous_commit": "local", "synchronous_standby_names": "one"}, "synchronous_commit = local"),
        ({"fsync": "off"}, "fsync = off"),
    ],
)
def test_a_database_that_may_lose_what_was_acknowledged_is_refused_unless_that_is_requested(
    postgres: Cluster, url: str, settings: dict[str, str], found: str
) -> None:
    with postgres.settings(**settings):
        with pytest.raises(UsageError, match=rf"{found}: .* would lose acknowledged readings; set it to on"):
            open_briefly(url)
        level = "off" if "fsync" in settings else settings["synchronous_commit"]
        journal = open_postgres_journal(url, lambda *_: None, commit=level)  # type: ignore[arg-type]
        journal.append(b"x").result(WAIT_SECONDS)
        journal.close()


@pytest.mark.postgres
def test_local_is_as_safe_as_can_be_where_there_is_no_standby(postgres: Cluster, url: str) -> None:
    with postgres.settings(synchronous_commit="local"):
        open_briefly(url)


@pytest.mark.postgres
def test_a_level_that_is_requested_counts_for_the_commits(postgres: Cluster, database: str) -> None:
    """With the server's own level, they would wait for the standby that is not there."""
    with postgres.settings(synchronous_standby_names="missing"):
        journal = open_postgres_journal(postgres.url(database), lambda *_: None, commit="local")
        journal.append(b"x").result(WAIT_SECONDS)
        journal.close()


@pytest.mark.postgres
def test_a_server_that_only_reads_is_refused(postgres: Cluster, url: str) -> None:
    with (
        postgres.settings(default_transaction_read_only="on"),
        pytest.raises(UsageError, match="read-only; name the primary, or all servers"),
    ):
        open_briefly(f"{url}?target_session_attrs=any")


@pytest.mark.postgres
def test_a_user_who_may_not_make_the_tables_is_told_what_to_grant(postgres: Cluster, database: str) -> None:
    name = f"guest_of_{database}"
    postgres.run(f"CREATE ROLE {name} LOGIN")
    with pytest.raises(UsageError, match=r"permission denied for database .*; .* GRANT CREATE ON DATABASE"):
        open_briefly(postgres.url(database).replace("postgres@", f"{name}@"))


@pytest.mark.postgres
def test_an_unknown_database_is_a_fault_of_the_request(postgres: Cluster) -> None:
    with pytest.raises(UsageError, match='database "nowhere" does not exist; create it, or check the URL'):
        open_briefly(postgres.url("nowhere"))


@pytest.mark.postgres
def test_a_password_of_the_environment_is_in_no_message(
    postgres: Cluster, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.run(f"CREATE ROLE {database}_scram LOGIN PASSWORD 'right'")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with postgres.passwords(), caplog.at_level(logging.DEBUG), pytest.raises(UsageError) as caught:
        open_briefly(postgres.url(database).replace("postgres@", f"{database}_scram@"))
    assert "password authentication failed" in str(caught.value)
    texts = [str(caught.value), repr(caught.value.__cause__), caplog.text]
    assert not any(SECRET in text for text in texts)


@pytest.mark.postgres
def test_payloads_are_compressed_in_every_partition(postgres: Cluster, database: str, url: str) -> None:
    journal = open_postgres_journal(url, lambda *_: None)
    journal.append(b"heart rate " * 10_000).result(WAIT_SECONDS)
    journal.close()
    kept = "SELECT pg_column_compression(payload), pg_column_size(payload) FROM mockexport_heartrate.batch"
    [(method, size)] = postgres.run(kept, database)
    assert method == "lz4"
    assert size < 10_000


@pytest.mark.postgres
def test_an_extra_of_libpq_in_the_url_counts(url: str) -> None:
    with pytest.raises(MockExportError, match="SSL"):
        open_briefly(f"{url}?sslmode=require")
