"""Folders are put on disk where they are made, so that what they hold is there after a power loss."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.heartrate.synthetic import DAY, TEN, batch

from mockexport.heartrate.service import HeartRate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of open files as Linux has them")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was fsynced, by name, in order."""
    names: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def test_at_the_first_start_every_folder_and_the_folder_above_it_is_on_disk_before_anything_is_kept(
    tmp_path: Path, synced: list[Path]
) -> None:
    data, journal = tmp_path / "a" / "b" / "data", tmp_path / "c" / "d" / "journal"
    with HeartRate(data, journal=journal) as service:
        before = set(synced)
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
    made = [data, journal, data / "table", data / "table" / "_delta_log"]
    above = [tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "c", tmp_path / "c" / "d"]
    assert {*made, *above} <= before


def test_a_journal_and_a_marker_are_in_a_folder_that_is_fsynced_after_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[Path, set[str]] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        if name.is_dir():
            held[name] = {path.name for path in name.iterdir()}

    monkeypatch.setattr(os, "fsync", fsync)
    with HeartRate(tmp_path / "data", journal=tmp_path / "journal"):
        pass
    for folder in ("data", "journal"):
        assert "heartrate.json" in held[tmp_path / folder]
    assert "journal.sqlite" in held[tmp_path / "journal"]
    assert "table" in held[tmp_path / "data"]
    assert {"data", "journal"} <= held[tmp_path]


def test_folders_of_a_start_that_was_killed_are_put_on_disk_by_the_next_one(tmp_path: Path, synced: list[Path]) -> None:
    data = tmp_path / "a" / "data"
    (data / "table" / "_delta_log").mkdir(parents=True)
    (data / "heartrate.json").write_text('{"format":1,"table":"table"}')
    HeartRate(data).close()
    assert {tmp_path, tmp_path / "a", data, data / "table", data / "table" / "_delta_log"} <= set(synced)


def test_the_folder_of_a_day_that_a_killed_process_made_is_put_on_disk_before_the_commit(
    tmp_path: Path, synced: list[Path]
) -> None:
    (tmp_path / "data" / "table" / "date=2024-01-15").mkdir(parents=True)
    (tmp_path / "data" / "heartrate.json").write_text('{"format":1,"table":"table"}')
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0), ("u", "d", TEN + DAY, 60.0))).result(60)
        synced.clear()
        service.flush()
    table = tmp_path / "data" / "table"
    entry = next(number for number, name in enumerate(synced) if name.suffix == ".json")
    assert table in synced[:entry]
    assert synced[:entry].count(table) == 1
