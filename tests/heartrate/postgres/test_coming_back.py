"""A new journal, and one whose database goes away and comes back, while readings arrive all the time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS, Told
from tests.heartrate.synthetic import TEN

from mockexport.heartrate.journal import JournalError
from mockexport.heartrate.journal.postgres import open_postgres_journal
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.heartrate.postgres.server import Cluster

    from mockexport.heartrate.journal.postgres.journal import PostgresJournal

pytestmark = pytest.mark.postgres


def test_before_the_first_batch_of_a_new_journal_the_clock_alone_says_which_times_are_too_late(
    tmp_path: Path, url: str
) -> None:
    with HeartRate(tmp_path / "data", journal=url) as service:
        assert service.latest() > TEN


def test_batches_that_arrive_all_the_time_do_not_keep_the_journal_from_connecting_again(
    postgres: Cluster, database: str
) -> None:
    journal = open_postgres_journal(postgres.url(database), Told())
    try:
        journal.catch_up()
        journal.append(b"one").result(WAIT_SECONDS)
        postgres.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        while "not currently accepting connections" not in refusal(journal):
            continue
        postgres.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        began = time.monotonic()
        while refusal(journal):
            assert time.monotonic() - began < WAIT_SECONDS
    finally:
        journal.close()


def refusal(journal: PostgresJournal) -> str:
    """Why a batch is refused; nothing if it is stored."""
    try:
        journal.append(b"another").result(WAIT_SECONDS)
    except JournalError as error:
        return str(error)
    return ""
