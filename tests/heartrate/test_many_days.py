"""Readings of many days: a commit's work is bounded, and a crash between two commits neither loses nor doubles."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import DeltaTable
from tests.heartrate.synthetic import DAY, MIDNIGHT, Row, batch

from mockexport.heartrate.journal import JournalError, SqliteJournal
from mockexport.heartrate.readings import time_of
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table import maintenance
from mockexport.heartrate.table.store import DeltaStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DAYS_A_COMMIT = 4


def rows(first: int, days: int) -> list[Row]:
    """A reading a day."""
    return [("u", f"d{first}", MIDNIGHT + day * DAY, 60.0) for day in range(days)]


def commits(folder: Path) -> list[tuple[int, int]]:
    """How many files each commit added, and how many rows in all, by version."""
    found = []
    for entry in sorted((folder / "table" / "_delta_log").glob("*.json")):
        added = [action["add"] for action in map(json.loads, entry.read_text().splitlines()) if "add" in action]
        if added:
            found.append((len(added), sum(json.loads(add["stats"])["numRecords"] for add in added)))
    return found


def in_table(folder: Path) -> int:
    return int(pl.DataFrame(DeltaTable(folder / "table").get_add_actions(flatten=True))["num_records"].sum())


def leave(service: HeartRate) -> None:
    """End a service as a crash would: nothing more is written."""
    service._flusher = service._maintenance = None
    service.close()


@pytest.fixture(autouse=True)
def _few_days_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "DAYS_A_COMMIT", DAYS_A_COMMIT)


def test_a_commit_adds_a_bounded_number_of_days_and_the_journal_lets_go_after_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[tuple[int, int]] = []
    real = SqliteJournal.release

    def release(self: SqliteJournal, positions: Mapping[str, int], version: int) -> None:
        released.append((positions[self.id], in_table(tmp_path)))
        real(self, positions, version)

    monkeypatch.setattr(SqliteJournal, "release", release)
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(*rows(0, 10))).result(60)
        service.accept(batch(*rows(1, 6))).result(60)
        service.flush()
        assert commits(tmp_path) == [(4, 8), (4, 6), (2, 2)]
        assert released == [(service.statistics().journaled_position, 16)]
        assert service.statistics().pending_readings == 0
        assert [day.rows for day in service.days()] == [2] * 6 + [1] * 4


def test_readings_that_come_between_two_commits_of_a_flush_are_for_the_next_one(tmp_path: Path) -> None:
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(*rows(0, 10))).result(60)
        assert service._journal
        assert maintenance.flush(service._pending, service._journal, service._store)
        service.accept(batch(*rows(1, 10))).result(60)
        assert [day.rows for day in service.days()] == [2] * 10
        service.flush()
        assert [day.rows for day in service.days()] == [2] * 10
        assert in_table(tmp_path) == 20


@pytest.mark.gate
@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize("told", [True, False])
def test_a_crash_between_two_commits_of_a_flush_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int, told: bool
) -> None:
    """The last commit's note or release never came, unless it was told."""
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(*rows(0, 10))).result(60)
        service.accept(batch(*rows(1, 10))).result(60)
        assert service._journal
        for _ in range(done - 1 if not told else done):
            maintenance.flush(service._pending, service._journal, service._store)
        if not told:
            with monkeypatch.context() as patched:
                patched.setattr(SqliteJournal, "release", power_loss)
                patched.setattr(SqliteJournal, "note", power_loss)
                with pytest.raises(JournalError):
                    maintenance.flush(service._pending, service._journal, service._store)
        leave(service)
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        assert [day.rows for day in service.days()] == [2] * 10
        service.accept(batch(*rows(2, 10))).result(60)
        service.flush()
        assert [day.rows for day in service.days()] == [3] * 10
        assert service.statistics().pending_readings == 0
    assert in_table(tmp_path) == 30


def power_loss(*_: object, **__: object) -> None:
    raise JournalError("the power went")


def test_a_commit_of_a_flush_that_power_loss_cut_short_is_made_again(tmp_path: Path) -> None:
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(*rows(0, 10))).result(60)
        assert service._journal
        noted = None
        for _ in range(2):
            noted = service._journal.version
            maintenance.flush(service._pending, service._journal, service._store)
        service._journal.note(noted or 0)  # as if the second commit had not been noted
        leave(service)
    newest = max((tmp_path / "table" / "_delta_log").glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:50])
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.flush()
        assert [day.rows for day in service.days()] == [1] * 10
    assert in_table(tmp_path) == 10


@pytest.mark.gate
def test_kill_9_in_the_midst_of_a_flush_of_many_days_neither_loses_nor_doubles(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from tests.heartrate.synthetic import batch\nfrom tests.heartrate.test_many_days import rows\n"
        "from mockexport.heartrate.table import maintenance\nfrom mockexport.heartrate.service import HeartRate\n"
        "maintenance.DAYS_A_COMMIT = 4\n"
        "with HeartRate(pathlib.Path(sys.argv[1]), flush_seconds=3600) as service:\n"
        "    service.accept(batch(*rows(0, 100))).result(60)\n"
        "    real = service._journal.note\n"
        "    service._journal.note = lambda *told: (real(*told), print('commit', flush=True))\n"
        "    service.flush()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        for _ in range(5):
            assert process.stdout.readline() == b"commit\n"
        process.kill()
    assert 20 <= in_table(tmp_path) < 100
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        assert [day.rows for day in service.days()] == [1] * 100
        service.flush()
        assert [day.rows for day in service.days()] == [1] * 100
    assert in_table(tmp_path) == 100


def test_days_of_all_years_are_flushed_in_parts(tmp_path: Path) -> None:
    first = -62_135_596_800_000_000  # 0001-01-01
    readings = [("u", "d", first + day * 365 * DAY, 60.0) for day in range(900)]
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(*readings[:9], *readings[-9:])).result(60)
        service.flush()
        assert in_table(tmp_path) == 18
        assert service.statistics().pending_readings == 0


def test_dropping_many_days_is_bounded_a_commit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = DeltaStore.remove

    def remove(self: DeltaStore, old: list[object]) -> int:
        sizes.append(len(old))
        return real(self, old)  # type: ignore[arg-type]

    monkeypatch.setattr(DeltaStore, "remove", remove)
    now = time_of(MIDNIGHT + 10 * DAY + 1)
    with HeartRate(tmp_path, flush_seconds=3600, retain=timedelta(days=1), now=lambda: now) as service:
        service.accept(batch(*rows(0, 11))).result(60)
        service.flush()
        service.drop_old_days()
        assert len(service.days()) == 2
    assert sizes == [4, 4, 1]
