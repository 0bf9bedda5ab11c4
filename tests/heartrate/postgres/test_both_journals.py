"""What a journal promises, SQLite's and PostgreSQL's alike; the first in the default run, too."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.postgres.told import WAIT_SECONDS, Told

from mockexport.heartrate.journal import JournalError, SqliteJournal
from mockexport.heartrate.journal.postgres import open_postgres_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from mockexport.heartrate.journal import Journal
    from mockexport.heartrate.journal.contract import OnCommit

    Opener: TypeAlias = Callable[[OnCommit], Journal]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Open the same journal at each call."""
    if request.param == "sqlite":
        return lambda on_commit: SqliteJournal(tmp_path / "journal.sqlite", on_commit)
    url: str = request.getfixturevalue("url")
    return lambda on_commit: open_postgres_journal(url, on_commit)


def stored(journal: Journal, *payloads: bytes) -> None:
    for future in [journal.append(payload) for payload in payloads]:
        future.result(WAIT_SECONDS)


def test_a_batch_is_told_before_its_future_is_done(opener: Opener) -> None:
    told = Told()
    journal = opener(told)
    for number in range(20):
        stored(journal, b"%d" % number)
        assert told.payloads()[b"%d" % number] == 1
        assert max(told.ids()) == max(journal.positions.values())
    assert list(told.streams) == [stream for stream in journal.positions if stream.startswith(journal.id)]
    assert told.in_order()
    journal.close()


def test_what_is_not_released_is_told_again_after_a_restart_by_the_first_call_only(opener: Opener) -> None:
    told = Told()
    journal = opener(told)
    stored(journal, b"released")
    assert journal.lead() is not None
    journal.release(journal.positions, 3)
    stored(journal, b"1", b"2")
    journal.note(4, checkpoint=2)
    journal.see(99)
    before = journal.positions, journal.id
    journal.close()
    again = Told()
    journal = opener(again)
    assert (journal.version, journal.checkpoint, journal.seen) == (4, 2, 99)
    released = journal.catch_up()
    assert journal.catch_up() == released == journal.released
    assert again.payloads() == {b"1": 1, b"2": 1}
    assert (journal.positions, journal.id) == before
    assert all(released[stream] < position for stream, position in journal.positions.items())
    journal.close()


def test_ids_are_above_what_they_are_to_continue_after_and_rise_over_restarts(opener: Opener) -> None:
    above = 1 << 51
    told = Told()
    for number in range(3):
        journal = opener(told if number == 0 else lambda *_: None)
        journal.catch_up()
        journal.continue_after(above)
        stored(journal, b"x", b"x")
        above = max(journal.positions.values())
        journal.close()
    assert min(told.ids()) > 1 << 51
    everything = Told()
    journal = opener(everything)
    journal.catch_up()
    assert sum(map(len, everything.streams.values())) == 6
    assert everything.in_order()
    journal.close()


def test_payloads_of_any_bytes_and_size_come_back_as_they_were(opener: Opener) -> None:
    chance = random.Random(1)
    payloads = [b"", b"\0", bytes(range(256)), chance.randbytes(100_000), b"\\x00'\"%s%b", chance.randbytes(9_000_000)]
    told = Told()
    journal = opener(told)
    stored(journal, *payloads)
    journal.close()
    again = Told()
    journal = opener(again)
    journal.catch_up(WAIT_SECONDS)
    assert again.payloads() == told.payloads() == Counter(payloads)
    journal.close()


def test_a_journal_that_can_store_has_no_problem_and_one_that_is_closed_takes_nothing(opener: Opener) -> None:
    journal = opener(lambda *_: None)
    stored(journal, *[b"x" * 1000] * 50)
    assert (journal.problem(), journal.last_error, journal.waiting_bytes) == (None, None, 0)
    assert 1 <= journal.commits <= 50
    assert 1 <= journal.group_size <= journal.largest_group <= 50
    assert journal.role in ("alone", "follower")
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append(b"late")
    assert "password" not in journal.place


def test_a_backlog_of_many_portions_is_told_whole_and_in_order(opener: Opener) -> None:
    journal = opener(lambda *_: None)
    stored(journal, *[b"%d" % number for number in range(1000)])
    journal.close()
    told = Told()
    journal = opener(told)
    journal.catch_up(WAIT_SECONDS)
    assert [entry.payload for [*entries] in told.streams.values() for entry in entries] == [
        b"%d" % number for number in range(1000)
    ]
    journal.close()
