"""The table on a local disk: whole or as it was, whatever a power loss leaves of its newest files."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import DeltaTable
from tests.heartrate.synthetic import MIDNIGHT, TEN, batch

from mockexport.heartrate.journal import JournalError, SqliteJournal
from mockexport.heartrate.readings import date_of
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table.log import sync_entry
from mockexport.heartrate.table.merge import SCHEMA
from mockexport.heartrate.table.store import DeltaStore

if TYPE_CHECKING:
    from collections.abc import Mapping

TODAY = date_of(TEN)


def frame(*times: int) -> pl.DataFrame:
    columns = {"user": "u", "device": "d", "time": list(times), "rate": 60.0, "sequence": list(times)}
    return pl.DataFrame(columns).cast(SCHEMA)  # type: ignore[arg-type]


def times(store: DeltaStore) -> list[int]:
    files = [file for files in store.snapshot().days.values() for file in files]
    return sorted(store.scan(files).collect()["sequence"]) if files else []


def parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("date=*/*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def newest_entry(table: Path) -> Path:
    return max((table / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("left", [0, 1, 50, -1])
@pytest.mark.parametrize("what", ["log entry", "file"])
def test_a_flush_that_power_loss_cut_short_is_dropped_and_made_again_from_the_journal(
    tmp_path: Path, what: str, left: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    with HeartRate(folder, flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        service.flush()
        service.accept(batch(("u", "d", TEN + 1, 80.0))).result(60)
        with monkeypatch.context() as patched:
            patched.setattr(SqliteJournal, "release", _power_loss)
            with pytest.raises(JournalError):
                service.flush()
            service._flusher = service._maintenance = None  # nothing more is written
        table = folder / "table"
        torn = newest_entry(table) if what == "log entry" else parquet(table)[-1]
        torn.write_bytes(torn.read_bytes()[:left])
    with caplog.at_level(logging.WARNING), HeartRate(folder, flush_seconds=3600) as service:
        assert "dropping version 2" in caplog.text
        assert [point.heart_rate for point in service.query("u", TEN, TEN + 1)] == [70.0]
        service.flush()
    assert DeltaTable(folder / "table").version() == 2
    with HeartRate(folder) as service:
        assert [day.rows for day in service.days()] == [2]


def _power_loss(*_: object) -> None:
    raise JournalError("the power went")


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files as Linux has them")
def test_the_journal_lets_go_only_of_what_was_fsynced_with_its_folders_and_its_log_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    at_release: list[set[str]] = []
    real_fsync, real_release = os.fsync, SqliteJournal.release

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def release(self: SqliteJournal, positions: Mapping[str, int], version: int) -> None:
        at_release.append(set(synced))
        real_release(self, positions, version)

    table = tmp_path / "data" / "table"
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(SqliteJournal, "release", release)
        service.accept(batch(("u", "d", TEN, 60.0), ("u", "d", MIDNIGHT - 1, 60.0))).result(60)
        service.flush()
    files = parquet(table)
    assert len(files) == 2
    written = [*files, *(path.parent for path in files), table, newest_entry(table), table / "_delta_log"]
    assert {str(path) for path in written} <= at_release[0]


def test_a_crash_between_the_steps_of_a_flush_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    with HeartRate(folder, flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        with monkeypatch.context() as patched:
            patched.setattr(SqliteJournal, "release", _power_loss)
            with pytest.raises(JournalError):
                service.flush()
        service._flusher = service._maintenance = None
    with HeartRate(folder) as service:
        assert service.statistics().pending_readings == 0
    actions = pl.DataFrame(DeltaTable(folder / "table").get_add_actions(flatten=True))
    assert actions["num_records"].to_list() == [1]


def test_a_flush_whose_end_was_not_told_is_not_added_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        with monkeypatch.context() as patched:
            patched.setattr(SqliteJournal, "release", _power_loss)
            with pytest.raises(JournalError):
                service.flush()
        service.accept(batch(("u", "d", TEN + 1, 80.0))).result(60)
        service.flush()
        files = service._store.snapshot().days[TODAY]
        assert [file.rows for file in files] == [1, 1]


def test_a_compaction_that_power_loss_cut_short_leaves_the_files_that_were_before(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table", grace=0)
    store.append([(TODAY, frame(1))], "j", {"j": 1})
    durable = store.append([(TODAY, frame(2))], "j", {"j": 2})
    store.replace(store.snapshot().days[TODAY], [frame(1, 2)], TODAY)
    parquet(tmp_path / "table")[-1].write_bytes(b"")
    store = DeltaStore(tmp_path / "table", durable=durable)
    assert times(store) == [1, 2]
    assert store.snapshot().version == durable


@pytest.mark.gate
def test_a_checkpoint_that_was_not_noted_is_not_trusted(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table")
    for number in range(1, 60):
        version = store.append([(TODAY, frame(number))], "j", {"j": number})
    made = store.checkpoint(None)
    assert made == version
    checkpoint = tmp_path / "table" / "_delta_log" / f"{made:020}.checkpoint.parquet"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    store = DeltaStore(tmp_path / "table", durable=version, checkpoint=None)
    assert times(store) == list(range(1, 60))
    assert not checkpoint.exists()


@pytest.mark.gate
def test_a_file_that_was_replaced_stays_while_a_snapshot_holds_it_and_goes_after(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table", grace=0)
    for number in (1, 2):
        store.append([(TODAY, frame(number))], "j", {"j": number})
    held = store.snapshot()
    store.replace(held.days[TODAY], [frame(1, 2)], TODAY)
    store.tidy()
    assert len(parquet(tmp_path / "table")) == 3
    assert store.scan(held.days[TODAY]).collect().height == 2
    del held
    gc.collect()
    store.tidy()
    assert len(parquet(tmp_path / "table")) == 1
    assert times(store) == [1, 2]


def test_what_a_crash_left_of_a_flush_is_tidied_away_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table", grace=0)
    store.append([(TODAY, frame(1))], "j", {"j": 1})
    orphan = parquet(tmp_path / "table")[0].with_name("orphan-0.parquet")
    orphan.write_bytes(b"PAR1")
    store.tidy()
    assert not orphan.exists()
    assert times(store) == [1]


def test_the_log_is_written_again_after_a_failed_fsync(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table")
    version = store.append([(TODAY, frame(1))], "j", {"j": 1})
    entry = newest_entry(tmp_path / "table")
    content, number = entry.read_bytes(), entry.stat().st_ino
    sync_entry(entry.parent, version, again=True)
    assert entry.read_bytes() == content
    assert entry.stat().st_ino != number


def test_what_is_known_of_a_file_bounds_what_is_in_it_to_the_microsecond(tmp_path: Path) -> None:
    store = DeltaStore(tmp_path / "table")
    store.append([(TODAY, frame(TEN + 1, TEN + 1999))], "j", {"j": 1})
    (file,) = store.snapshot().days[TODAY]
    assert (file.first, file.last) == (TEN, TEN + 2000)
    assert (file.first_user, file.last_user, file.sequence, file.rows) == ("u", "u", TEN + 1999, 2)
    assert not file.may_hold("u", MIDNIGHT, TEN - 1)
    assert not file.may_hold("t", MIDNIGHT, TEN)
    assert file.may_hold("u", TEN + 2000, TEN + 5000)


@pytest.mark.gate
def test_a_journal_that_was_put_back_from_a_copy_does_not_cost_the_table_its_newer_versions(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with HeartRate(folder, flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
    old = {path: path.read_bytes() for path in folder.glob("journal.sqlite*")}
    with HeartRate(folder, flush_seconds=3600) as service:
        service._store.grace = 0
        for number in range(1, 5):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            service.flush()
        service.compact()
        gc.collect()
        service.tidy()
    for path, content in old.items():
        path.write_bytes(content)
    with HeartRate(folder, flush_seconds=3600) as service:
        assert [day.rows for day in service.days()] == [5]
