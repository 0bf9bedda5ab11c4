"""Data that had a journal in SQLite, served with one in PostgreSQL, and the way back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.synthetic import MINUTE, TEN, batch
from tests.heartrate.test_versions import FIRST_FORMAT

from mockexport.errors import UsageError
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.postgres


def test_data_goes_to_postgres_and_back_with_all_readings_and_the_last_in_stands(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    for number, journal in enumerate([None, url, None, url]):
        if number:
            with pytest.raises(UsageError, match=r"belongs to other data, and that of .* was last in"):
                HeartRate(data, journal=journal)
        with HeartRate(data, journal=journal, replace_journal=number > 0, flush_seconds=3600) as service:
            service.accept(batch(("u", "d", TEN, 60.0 + number), ("u", "d", TEN + number * MINUTE, 60.0))).result(60)
            points = service.query("u", TEN, TEN + 9 * MINUTE)
            assert len(points) == number + 1
            assert points[0].heart_rate == (60.0 + number)


def test_what_an_older_version_left_without_its_journal_is_refused(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(FIRST_FORMAT, data)
    with pytest.raises(UsageError, match="has a journal with readings as well as a database: serve it with its own"):
        HeartRate(data, journal=url)
    HeartRate(data).close()  # moves them to the table
    marker = data / "heartrate.json"
    marker.write_text(json.dumps({"format": 1, "table": json.loads(marker.read_text())["table"]}))
    (data / "journal.sqlite").unlink()
    with pytest.raises(UsageError, match=r"belongs to other data, and that of .* is elsewhere: name its folder"):
        HeartRate(data, journal=url)
    with HeartRate(data, journal=url, replace_journal=True) as service:
        assert sum(day.rows for day in service.days()) == 8
