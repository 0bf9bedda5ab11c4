"""DuckDB reads the same files from outside, and agrees with what we answer."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from tests.seeds import rng

from mockexport import fetch, open_source
from mockexport.pipeline import statistics

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gate

NOW = datetime(2025, 8, 27, tzinfo=UTC)
RECORDS = r"""
create table records as
select patient_id as patient, event_type as type, filename, row_number() over () as place,
    case when regexp_full_match(value, '[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?') then value::double end as value,
    epoch_us(try_cast(case when event_time like '____-__-__%' then event_time end as timestamp)) as time
from read_csv($files, all_varchar = true, header = true, filename = true, parallel = false)
"""
FIGURES = """
with gaps as (
    select *, time - lag(time) over (partition by patient, type order by time) as gap,
        lag(time) over (partition by patient, type order by time) as since from records
), filed as (
    select *, time < lag(time) over (partition by patient, type, filename order by place) as earlier
    from records where time is not null
)
select {key}, count(*), count(*) - count(value), count(*) - count(time), avg(value), min(value), max(value),
    stddev_samp(value), quantile_disc(value, 0.05), quantile_disc(value, 0.5), quantile_disc(value, 0.95),
    count(*) filter (value is not null and case type
        when 'heart_rate' then value not between 40 and 180 when 'spo2' then value not between 85 and 100
        when 'bp_sys' then value not between 90 and 200 when 'bp_dia' then value not between 60 and 120 end),
    avg(gap) / 1e6, max(gap) / 1e6, arg_max(since, (gap, -since)) filter (gap is not null), min(time), max(time),
    count(*) filter (gap = 0), count(*) filter (time > $now),
    (select count(*) from filed where earlier and {same})
from gaps group by {key} order by {key}
"""
NAMES = (
    "count", "not_a_number", "not_a_time", "mean", "min", "max", "sd", "p05", "median", "p95", "anomalies", "latency",
    "longest_gap", "longest_gap_start", "first", "last", "duplicates", "future", "out_of_order",
)  # fmt: skip


def by_duckdb(files: list[str], key: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The figures, by DuckDB, by the columns of a key."""
    same = " and ".join(f"filed.{name} = gaps.{name}" for name in key.split(", "))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(RECORDS, {"files": files})
        now = int(NOW.timestamp()) * 1_000_000
        rows = connection.execute(FIGURES.format(key=key, same=same), {"now": now}).fetchall()
    width = len(key.split(", "))
    return {row[:width]: dict(zip(NAMES, row[width:], strict=True)) for row in rows}


def comparable(figures: Any) -> dict[str, Any]:
    """Ours, with times as microseconds."""
    found = {"not_a_time": 0, **figures}
    for name in ("first", "last", "longest_gap_start"):
        time = found[name] and datetime.fromisoformat(found[name])
        found[name] = time and int(time.timestamp()) * 1_000_000 + time.microsecond
    return {name: found[name] for name in NAMES}


def write_odd_files(folder: Path) -> None:
    """Values that are no numbers, times that are none, disorder, and downloads that overlap in time."""
    made = rng("odd files")
    folder.mkdir(parents=True)
    for number in range(4):
        lines = ["patient_id,event_time,event_type,value"]
        for _ in range(3000):
            second = number * 1800 + made.randrange(5400)
            time = made.choice([f"2025-08-26T{20 + second // 3600 % 4:02}:{second // 60 % 60:02}:{second % 60:02}Z"] * 9
                               + ["", "soon", f"2025-08-27 00:00:00.{second:06}"])  # fmt: skip
            value = made.choice(
                [made.randrange(30, 220), made.randrange(3000, 22000) / 100, "1e2", "", "NaN", "x", "+7"]
            )
            lines.append(
                f"P{made.randrange(5)},{time},{made.choice(['heart_rate', 'spo2', 'bp_sys', 'weight'])},{value}"
            )
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("export", ["demo", "odd"])
def test_duckdb_comes_to_the_same_figures(tmp_path: Path, export: str) -> None:
    if export == "odd":
        write_odd_files(tmp_path / export)
    else:
        fetch(open_source(), export, tmp_path)
    files = sorted(map(str, (tmp_path / export).glob("*.csv")))
    with closing(open_source(tmp_path)) as source:
        found = statistics(source, export, now=NOW)
    cells = {(who, name): comparable(cell) for who, types in found.patients.items() for name, cell in types.items()}
    totals = {(name,): comparable(figures) for name, figures in found.totals.items()}
    assert cells.keys() == by_duckdb(files, "patient, type").keys()
    for ours, theirs in (cells, by_duckdb(files, "patient, type")), (totals, by_duckdb(files, "type")):
        for key, figures in ours.items():
            for name, figure in figures.items():
                expected = theirs[key][name]
                if name in ("mean", "sd", "latency"):  # DuckDB adds doubles one by one: the last digits differ
                    expected = pytest.approx(expected, rel=1e-12, abs=0)
                assert figure == expected, (key, name)
