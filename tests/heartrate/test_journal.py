"""The journal alone: groups, order, failure and repair."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from mockexport.errors import UntrustedDataError, UsageError
from mockexport.heartrate.journal import Entry, JournalError, SqliteJournal, read_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport.heartrate.journal.contract import OnCommit

WAIT_SECONDS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def nothing(_stream: str, _entries: list[Entry]) -> None:
    """Whom nobody tells."""


def keeping(told: list[Entry]) -> OnCommit:
    return lambda _stream, entries: told.extend(entries)


def payloads(path: Path) -> list[bytes]:
    kept = read_journal(path)
    return [entry.payload for entry in kept.entries] if kept else []


def test_what_waits_while_a_commit_is_under_way_shares_the_next_one(path: Path) -> None:
    first, go_on = threading.Event(), threading.Event()
    groups: list[int] = []

    def kept(_stream: str, entries: list[Entry]) -> None:
        groups.append(len(entries))
        first.set()
        assert go_on.wait(WAIT_SECONDS)

    journal = SqliteJournal(path, kept)
    futures = [journal.append(b"0")]
    assert first.wait(WAIT_SECONDS)
    threads = [threading.Thread(target=lambda: futures.append(journal.append(b"more"))) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    go_on.set()
    for future in futures:
        future.result(WAIT_SECONDS)
    assert groups == [1, 200]
    assert journal.commits == 2
    journal.close()


def test_many_threads_share_few_fsyncs(path: Path) -> None:
    journal = SqliteJournal(path, nothing)

    def post() -> None:
        for _ in range(20):
            journal.append(b"x" * 100).result(WAIT_SECONDS)

    threads = [threading.Thread(target=post) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert len(payloads(path)) == 640
    assert journal.commits < 320


def test_a_batch_is_in_the_file_and_told_before_its_future_is_done(path: Path) -> None:
    told: list[Entry] = []
    journal = SqliteJournal(path, keeping(told))
    for number in range(5):
        seen: Future[Any] = Future()

        def look(_: Future[None], seen: Future[Any] = seen) -> None:
            seen.set_result((payloads(path), len(told)))

        journal.append(b"%d" % number).add_done_callback(look)
        assert seen.result(WAIT_SECONDS) == ([b"%d" % before for before in range(number + 1)], number + 1)
    journal.close()


def test_ids_rise_across_restarts_even_when_all_was_released_and_the_clock_went_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Entry] = []
    for clock in (10**18, 10**15, 10**18):
        monkeypatch.setattr("time.time_ns", lambda clock=clock: clock)
        journal = SqliteJournal(path, keeping(told))
        journal.append(b"").result(WAIT_SECONDS)
        journal.append(b"").result(WAIT_SECONDS)
        journal.release({journal.id: told[-1].id}, 1)
        journal.close()
    ids = [entry.id for entry in told]
    assert ids == sorted(set(ids))
    assert payloads(path) == []


def test_what_was_released_is_gone_and_the_rest_is_there_at_the_next_start(path: Path) -> None:
    told: list[Entry] = []
    journal = SqliteJournal(path, keeping(told))
    for number in range(300):
        journal.append(b"%d" % number).result(WAIT_SECONDS)
    journal.release({journal.id: told[199].id}, version=7)
    assert payloads(path) == [b"%d" % number for number in range(200, 300)]
    journal.note(8, checkpoint=8)
    journal.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM batch").fetchone() == (100,)
    found: list[Entry] = []
    journal = SqliteJournal(path, keeping(found))
    journal.catch_up()
    journal.catch_up()
    assert [entry.payload for entry in found] == [b"%d" % number for number in range(200, 300)]
    assert (journal.version, journal.checkpoint, journal.released) == (8, 8, {journal.id: told[199].id})
    journal.close()


@pytest.mark.gate
def test_the_file_does_not_grow_when_what_comes_in_is_released(path: Path) -> None:
    told: list[Entry] = []
    journal = SqliteJournal(path, keeping(told))
    sizes = []
    for _ in range(8):
        for future in [journal.append(os.urandom(50_000)) for _ in range(200)]:
            future.result(WAIT_SECONDS)
        journal.release({journal.id: told[-1].id}, 1)
        sizes.append(path.stat().st_size)
    journal.close()
    assert max(sizes) < 60_000_000


def test_a_failed_write_fails_its_group_and_nothing_of_it_is_kept_once_the_journal_can_be_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Entry] = []
    journal = SqliteJournal(path, keeping(told))
    journal.append(b"before").result(WAIT_SECONDS)
    broken = threading.Event()
    broken.set()
    real: Callable[..., Any] = SqliteJournal._write

    def fails_late(self: SqliteJournal, *arguments: Any) -> None:
        real(self, *arguments)
        if broken.is_set():
            raise sqlite3.OperationalError("disk I/O error")  # as when the commit's own fsync fails: it may be there

    monkeypatch.setattr(SqliteJournal, "_write", fails_late)
    with pytest.raises(JournalError, match=r"journal\.sqlite can't be written: disk I/O error"):
        journal.append(b"lost").result(WAIT_SECONDS)
    assert "disk I/O error" in str(journal.problem())
    broken.clear()
    journal.append(b"after").result(WAIT_SECONDS)
    assert journal.problem() is None
    journal.close()
    assert payloads(path) == [b"before", b"after"]
    assert [entry.payload for entry in told] == [b"before", b"after"]


def test_a_closed_journal_takes_nothing_and_keeps_what_waited(path: Path) -> None:
    journal = SqliteJournal(path, nothing)
    futures = [journal.append(b"x") for _ in range(100)]
    journal.close()
    assert all(future.done() for future in futures)
    assert len(payloads(path)) == 100
    with pytest.raises(JournalError, match="closed"):
        journal.append(b"late")


def test_whoever_stopped_waiting_does_not_keep_the_others_from_being_told(path: Path) -> None:
    journal = SqliteJournal(path, nothing)
    futures = [journal.append(b"x") for _ in range(50)]
    cancelled = {number for number, future in enumerate(futures) if number % 2 and future.cancel()}
    for number, future in enumerate(futures):
        if number not in cancelled:
            future.result(WAIT_SECONDS)
    journal.append(b"last").result(WAIT_SECONDS)
    journal.close()


def test_another_format_and_a_damaged_file_are_refused_by_name(path: Path) -> None:
    SqliteJournal(path, nothing).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    connection.close()
    for opened in (lambda: SqliteJournal(path, nothing), lambda: read_journal(path)):
        with pytest.raises(UsageError, match=rf"{path} has the format 99, and this version reads 1"):
            opened()
    path.write_bytes(b"no journal" * 1000)
    for opened in (lambda: SqliteJournal(path, nothing), lambda: read_journal(path)):
        with pytest.raises(UntrustedDataError, match=rf"{path} is not a journal, or is damaged"):
            opened()


def test_a_torn_tail_of_the_log_is_dropped_and_all_before_it_kept(path: Path) -> None:
    script = (
        "import os, sys, pathlib\nfrom mockexport.heartrate.journal.journal import SqliteJournal\n"
        f"journal = SqliteJournal(pathlib.Path({str(path)!r}), lambda *_: None)\n"
        "for number in range(10): journal.append(b'%d' % number * 40000).result(60)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    log = path.with_name(path.name + "-wal")
    whole = log.read_bytes()
    log.write_bytes(whole[:-10_000])
    found: list[Entry] = []
    journal = SqliteJournal(path, keeping(found))
    journal.catch_up()
    assert [entry.payload[:1] for entry in found] == [b"%d" % number for number in range(9)]
    journal.close()
