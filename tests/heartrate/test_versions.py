"""Folders of other formats, of other things, and ones that can't be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.heartrate.synthetic import MINUTE, TEN, batch

from mockexport.errors import UnreachableError, UntrustedDataError, UsageError
from mockexport.heartrate.folder import is_heart_rate_folder
from mockexport.heartrate.readings import Point
from mockexport.heartrate.service import HeartRate

FIRST_FORMAT = Path(__file__).parent / "format_1"
"""A folder as the first version left it: two flushed batches, one of them compacted with a third, and one pending."""


def test_a_folder_of_the_first_version_opens_with_all_its_readings(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(FIRST_FORMAT, folder)
    for read_only in (True, False):
        with HeartRate(folder, read_only=read_only) as service:
            assert service.query("user_1", TEN, TEN + 4 * MINUTE) == [
                Point(TEN + number * MINUTE, 60.0 + number, "device_a") for number in range(4)
            ]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_of_another_format_is_refused_by_its_name(tmp_path: Path, read_only: bool) -> None:
    HeartRate(tmp_path / "data").close()
    (tmp_path / "data" / "heartrate.json").write_text('{"format":2,"table":"table"}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        UsageError, match=rf"^{tmp_path}/data has the heart-rate format 2, and this version reads 1: choose another"
    ):
        HeartRate(tmp_path / "data", read_only=read_only)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_of_another_format_is_refused_by_its_name(tmp_path: Path) -> None:
    HeartRate(tmp_path / "data").close()
    entry = tmp_path / "data" / "table" / "_delta_log" / f"{0:020}.json"
    entry.write_text(
        entry.read_text().replace('"mockexport.heartrate.format":"1"', '"mockexport.heartrate.format":"7"')
    )
    with pytest.raises(UsageError, match=r"data/table has the format 7, and this version reads 1"):
        HeartRate(tmp_path / "data")


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="holds other files; choose a new folder"):
        HeartRate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert not is_heart_rate_folder(tmp_path)
    with pytest.raises(UsageError, match="holds no heart-rate data"):
        HeartRate(tmp_path, read_only=True)


def test_a_place_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=rf"cannot write to {tmp_path}/file"):
        HeartRate(tmp_path / "file")


def test_a_damaged_marker_is_told(tmp_path: Path) -> None:
    HeartRate(tmp_path / "data").close()
    (tmp_path / "data" / "heartrate.json").write_text("{")
    with pytest.raises(UntrustedDataError, match=r"heartrate\.json is damaged"):
        HeartRate(tmp_path / "data")


def test_a_table_that_has_lost_its_newest_versions_is_refused(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        for number in range(3):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            service.flush()
    (tmp_path / "data" / "table" / "_delta_log" / f"{3:020}.json").unlink()
    with pytest.raises(UntrustedDataError, match="ends at version 2, but had 3: restore its log"):
        HeartRate(tmp_path / "data")


def test_a_table_that_is_gone_is_refused_and_none_is_made_in_its_place(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data") as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
    (tmp_path / "data" / "table").rename(tmp_path / "elsewhere")
    with pytest.raises(UntrustedDataError, match="is not there, but had version 1: restore it, or mount what has it"):
        HeartRate(tmp_path / "data")
    assert not (tmp_path / "data" / "table").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "data" / "table")
    with HeartRate(tmp_path / "data") as service:
        assert [day.rows for day in service.days()] == [1]


def test_a_url_needs_a_folder_for_its_journal_which_then_is_that_tables_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="s3://readings/table needs a local folder for its journal"):
        HeartRate("s3://readings/table")
    home = tmp_path / "journal"
    home.mkdir()
    (home / "heartrate.json").write_text(json.dumps({"format": 1, "table": "s3://other/table"}))
    with pytest.raises(
        UsageError, match="belongs to the table s3://other/table; choose another folder for s3://readings"
    ):
        HeartRate("s3://readings/table", journal=home)


def test_a_url_of_an_unknown_kind_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot open the table nowhere://table: ") as caught:
        HeartRate("nowhere://table", journal=tmp_path / "journal")
    assert "\n" not in str(caught.value)


def test_a_folder_can_be_moved(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data") as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
    (tmp_path / "data").rename(tmp_path / "moved")
    with HeartRate(tmp_path / "moved") as service:
        assert [day.rows for day in service.days()] == [1]


@pytest.mark.gate
def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        for number in range(60):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            service.flush()
        service.compact()
        service.tidy()
        open_to_others = [path for path in (tmp_path / "data").rglob("*") if path.stat().st_mode & 0o077]
        assert open_to_others == []
        assert any(path.name.endswith(".checkpoint.parquet") for path in (tmp_path / "data").rglob("*"))
