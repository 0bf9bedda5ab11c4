"""Parquet files: counted and summed up as the CSV with the same rows, or an error that names the column."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport import count, fetch, open_source, statistics
from mockexport.errors import ChangedError, UntrustedDataError
from mockexport.sources.parquet import read_parquet

if TYPE_CHECKING:
    from pathlib import Path

NOON = dt.datetime(2025, 8, 26, 12, 0, 0, 1, tzinfo=dt.UTC)
ROW: dict[str, Any] = {"patient_id": "P001", "event_time": NOON, "event_type": "bp_sys", "value": 71.5}


def written(folder: Path, rows: list[dict[str, Any]], **columns: Any) -> Path:
    (folder / "trial").mkdir(exist_ok=True)
    pl.DataFrame(rows).with_columns(**columns).write_parquet(folder / "trial" / "a.parquet", row_group_size=7)
    return folder


def test_an_export_in_parquet_has_the_counts_statistics_and_rows_of_the_same_export_in_csv(tmp_path: Path) -> None:
    fetch(open_source("mock"), "demo", tmp_path / "csv")
    (tmp_path / "parquet" / "demo").mkdir(parents=True)
    for file in (tmp_path / "csv" / "demo").glob("*.csv"):
        time = pl.col("event_time").str.to_datetime(time_zone="UTC")
        target = tmp_path / "parquet" / "demo" / f"{file.stem}.parquet"
        pl.read_csv(file).with_columns(time).write_parquet(target, row_group_size=1000)
    csv, parquet = open_source(tmp_path / "csv"), open_source(tmp_path / "parquet")
    assert {d.id: d.rows for d in parquet.downloads("demo")} == {d.id: d.rows for d in csv.downloads("demo")}
    assert count(parquet, "demo") == count(csv, "demo")
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert statistics(parquet, "demo", now=now) == statistics(csv, "demo", now=now)


@pytest.mark.gate
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_any_texts_of_patients_and_types_are_counted_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    folder = written(
        tmp_path_factory.mktemp("any"), [{**ROW, "patient_id": patient, "event_type": kind} for patient, kind in pairs]
    )
    counts = count(open_source(folder), "trial")
    assert sum(n for kinds in counts.patients.values() for n in kinds.values()) == len(pairs)


@pytest.mark.parametrize("column", ["patient_id", "event_type"])
def test_a_null_patient_or_type_is_malformed_and_can_be_skipped(tmp_path: Path, column: str) -> None:
    folder = written(tmp_path, [ROW, {**ROW, column: None}, ROW])
    with pytest.raises(UntrustedDataError, match=f"malformed at line 3: empty {column}"):
        count(open_source(folder), "trial")
    counts = count(open_source(folder), "trial", skip_malformed=True)
    assert sum(counts.left_out.values()) == 1


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("patient_id", [1], r"List\(Int64\)"),
        ("event_type", 1.5, "Float64"),
        ("event_time", 7, "Int64"),
        ("value", NOON, "Datetime"),
    ],
)
def test_a_column_of_another_type_is_named_with_its_type(tmp_path: Path, column: str, value: Any, kind: str) -> None:
    folder = written(tmp_path, [{**ROW, column: value}])
    with pytest.raises(UntrustedDataError, match=rf"the column {column} of .*a\.parquet has the type {kind}"):
        count(open_source(folder), "trial")


def test_patients_may_be_numbers_and_types_categories(tmp_path: Path) -> None:
    folder = written(tmp_path, [{**ROW, "patient_id": 7}], event_type=pl.col("event_type").cast(pl.Categorical))
    assert count(open_source(folder), "trial").patients == {"7": {"bp_sys": 1}}


def test_a_time_is_written_in_utc_to_the_microsecond(tmp_path: Path) -> None:
    folder = written(tmp_path, [ROW], event_time=pl.col("event_time").dt.convert_time_zone("Europe/Berlin"))
    text = b"".join(read_parquet(folder / "trial" / "a.parquet"))
    assert text == b"patient_id,event_time,event_type,value\nP001,2025-08-26T12:00:00.000001Z,bp_sys,71.5\n"
    assert b"".join(read_parquet(folder / "trial" / "a.parquet", 40)) == text[40:]


def test_what_is_not_parquet_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UntrustedDataError, match=r"a\.parquet cannot be read as Parquet"):
        open_source(tmp_path).downloads("trial")


def test_a_file_that_is_replaced_after_it_was_listed_is_an_error(tmp_path: Path) -> None:
    source = open_source(written(tmp_path, [ROW]))
    download = next(iter(source.downloads("trial")))
    written(tmp_path, [ROW, ROW])
    with pytest.raises(ChangedError):
        list(source.open(download))
