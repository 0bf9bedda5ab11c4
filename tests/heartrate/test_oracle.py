"""DuckDB reads the same files from outside, and agrees with what we answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import pytest
from tests.heartrate.synthetic import DAY, MIDNIGHT, MINUTE, Row, batch
from tests.seeds import rng

from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gate

ANSWER = """
with settled as (
    select "user", device, epoch_us(time) as time, rate from read_parquet($files, hive_partitioning = false)
    qualify row_number() over (partition by "user", device, time order by sequence desc) = 1
), ranked as (
    select time - ((time % 60000000) + 60000000) % 60000000 as minute, rate, device,
        dense_rank() over (partition by minute order by
            case device when 'device_a' then 1 when 'device_b' then 2 else 999 end, device) as place
    from settled where "user" = $user and time between $start and $end and ($device is null or device = $device)
)
select minute, avg(rate), any_value(device) from ranked where place = 1 group by minute order by minute
"""


def active_files(table: Path) -> list[str]:
    """Return the files that the Delta log says are the table's, by the log's own rules."""
    active: set[str] = set()
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for line in entry.read_bytes().splitlines():
            action: dict[str, Any] = orjson.loads(line)
            if "add" in action:
                active.add(action["add"]["path"])
            if "remove" in action:
                active.discard(action["remove"]["path"])
    return [str(table / path) for path in sorted(active)]


def test_duckdb_computes_the_same_points_from_the_tables_files(tmp_path: Path) -> None:
    made = rng(7)
    users, devices = [f"user_{number}" for number in range(12)], ["device_a", "device_b", "other", "another"]

    def row() -> Row:
        time = MIDNIGHT + made.randrange(2 * DAY // MINUTE // 8) * 8 * MINUTE + made.randrange(4) * MINUTE // 4
        return made.choice(users), made.choice(devices), time, made.randrange(60, 440) / 2

    with HeartRate(tmp_path / "data", flush_seconds=3600) as service, duckdb.connect() as connection:
        for number in range(30):
            service.accept(batch(*[row() for _ in range(1000)])).result(60)
            if number % 4 == 3:
                service.flush()
            if number == 15:
                service.compact()
        service.flush()
        files = active_files(tmp_path / "data" / "table")
        assert len(files) > 4
        for _ in range(60):
            start = MIDNIGHT + made.randrange(-DAY, 2 * DAY)
            asked = {
                "user": made.choice(users),
                "start": start,
                "end": start + made.randrange(2 * DAY),
                "device": made.choice([None, *devices]),
            }
            theirs = connection.execute(ANSWER, {"files": files, **asked}).fetchall()
            assert [tuple(point) for point in service.query(**asked)] == theirs  # type: ignore[arg-type]
        (rows,) = connection.execute(
            'select count(distinct ("user", device, time)) from read_parquet($files)', {"files": files}
        ).fetchone() or (0,)
        assert sum(day.rows for day in service.days()) == rows
