"""The export heart_rate: what was kept, as CSV that every CSV reader reads alike."""

from __future__ import annotations

import csv
import io
import pickle
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.heartrate.bodies import dumps, reading

from mockexport import NotFoundError, UntrustedDataError, count, open_source, summarise
from mockexport.heartrate.export import HeartRateSource, csv_rows
from mockexport.heartrate.ingest.validation import read_batch
from mockexport.heartrate.service import HeartRate
from mockexport.model import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mockexport import Counts

EXPORT = "heart_rate"
HEADER = "patient_id,event_time,event_type,value\n"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WAIT_SECONDS = 30


def put(service: HeartRate, *readings: dict[str, Any]) -> None:
    service.accept(read_batch(dumps({"readings": readings})).readings).result(WAIT_SECONDS)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[HeartRate]:
    with HeartRate(tmp_path / "readings") as service:
        yield service


@pytest.fixture
def source(service: HeartRate) -> HeartRateSource:
    return HeartRateSource("readings", service)


def text(source: HeartRateSource, day: str) -> str:
    (download,) = [download for download in source.downloads(EXPORT) if download.id == day]
    with closing(source.open(download)) as chunks:
        return b"".join(chunks).decode()


def test_nothing_kept_is_an_export_without_downloads(source: HeartRateSource) -> None:
    assert source.exports() == [EXPORT]
    assert source.downloads(EXPORT) == []


def test_a_day_is_a_download_that_declares_what_it_holds(service: HeartRate, source: HeartRateSource) -> None:
    put(service, reading(user_id="B"), reading(user_id="A", timestamp="2024-01-15T23:59:59.999999Z"))
    put(service, reading(user_id="B", timestamp="2024-01-15T01:00:00+02:00"), reading(user_id="B"))
    first, second = source.downloads(EXPORT)
    assert (first.id, first.rows, first.patients, first.event_types) == ("2024-01-14", 1, ("B",), ("heart_rate",))
    assert (second.id, second.rows, second.patients) == ("2024-01-15", 2, ("A", "B"))
    assert second.start_time == datetime(2024, 1, 15, 10, tzinfo=UTC)
    assert second.end_time == datetime(2024, 1, 15, 23, 59, 59, 999_999, tzinfo=UTC)
    assert second.etag
    assert summarise(EXPORT, [first, second]).rows == 3


@pytest.mark.parametrize("flushed", [False, True])
def test_rows_come_by_patient_then_time_whole_numbers_without_a_fraction(
    service: HeartRate, source: HeartRateSource, flushed: bool
) -> None:
    put(service, reading(user_id="B", heart_rate=75.5), reading(user_id="A", timestamp="2024-01-15T12:00:00.000001Z"))
    put(service, reading(user_id="A", heart_rate=60), reading(user_id="B", device_id="device_b", heart_rate=80.0))
    if flushed:
        service.flush()
    assert text(source, "2024-01-15") == (
        HEADER + "A,2024-01-15T10:00:00Z,heart_rate,60\n"
        "A,2024-01-15T12:00:00.000001Z,heart_rate,75\n"
        "B,2024-01-15T10:00:00Z,heart_rate,75.5\n"
        "B,2024-01-15T10:00:00Z,heart_rate,80\n"
    )


def test_it_can_be_read_from_any_byte_on(service: HeartRate, source: HeartRateSource) -> None:
    put(service, *(reading(user_id=f"user {number}") for number in range(50)))
    (download,) = source.downloads(EXPORT)
    whole = b"".join(source.open(download))
    for offset in (1, 38, 39, 40, len(whole) - 1, len(whole), len(whole) + 5):
        assert b"".join(source.open(download, offset)) == whole[offset:]


def test_a_day_that_changed_since_it_was_listed_is_not_passed_off_as_the_same(
    service: HeartRate, source: HeartRateSource
) -> None:
    put(service, reading())
    (download,) = source.downloads(EXPORT)
    put(service, reading(user_id="later"))
    with pytest.raises(UntrustedDataError, match="arrived after it was listed; try again"):
        b"".join(source.open(download))
    service.flush()
    (download,) = source.downloads(EXPORT)
    service.compact()
    assert b"".join(source.open(download)).count(b"\n") == 3


def test_unknown_exports_and_days_are_not_found(service: HeartRate, source: HeartRateSource) -> None:
    put(service, reading())
    (download,) = source.downloads(EXPORT)
    with pytest.raises(NotFoundError, match="it has heart_rate"):
        source.downloads("trial")
    for other in (replace(download, id="2024-01-16"), replace(download, export="trial")):
        with pytest.raises(NotFoundError):
            source.open(other)


NAMES = [
    "plain", 'a "quoted" one', "a,comma", "two\nlines", "a\rreturn", "both\r\n", "💓 Zoë", "עברית", '"', " ", "\0", "#",
    "'", "=1+1",
]  # fmt: skip


def counted(source: HeartRateSource, kernel: str) -> Counts:
    return count(source, EXPORT, kernel=kernel)


def test_ids_of_any_script_are_counted_right_while_a_server_runs_and_from_its_folder(
    service: HeartRate, source: HeartRateSource, kernel: str, tmp_path: Path
) -> None:
    put(service, *(reading(user_id=name, device_id=name) for name in NAMES))
    service.flush()
    put(service, *(reading(user_id=name, timestamp="2024-01-16T00:00:00Z") for name in NAMES[:5]))
    expected = {name: {"heart_rate": 2 if name in NAMES[:5] else 1} for name in NAMES}
    assert counted(source, kernel).patients == expected
    with closing(open_source(tmp_path / "readings")) as folder:
        assert isinstance(folder, HeartRateSource)
        assert folder.name == str(tmp_path / "readings")
        assert counted(folder, kernel).patients == expected


def test_a_folder_can_travel_to_another_process_and_be_used_again_after_close(
    service: HeartRate, tmp_path: Path
) -> None:
    put(service, reading())
    folder = open_source(tmp_path / "readings")
    assert count(folder, EXPORT).rows == 1
    folder.close()
    put(service, reading(user_id="other"))
    assert count(folder, EXPORT).rows == 2
    with closing(pickle.loads(pickle.dumps(folder))) as again:
        assert count(again, EXPORT).rows == 2
    folder.close()


MOMENTS = st.datetimes(timezones=st.just(UTC))
RATES = st.floats(30, 220) | st.integers(30, 220).map(float)


@pytest.mark.gate
@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), MOMENTS, RATES), min_size=1, max_size=8))
def test_what_is_written_is_what_a_csv_reader_reads(rows: list[tuple[str, datetime, float]]) -> None:
    times = [(moment - EPOCH) // timedelta(microseconds=1) for _, moment, _ in rows]
    frame = pl.DataFrame(
        {"user": [user for user, _, _ in rows], "time": times, "rate": [rate for _, _, rate in rows]},
        schema_overrides={"time": pl.Int64},
    ).cast({"time": pl.Datetime("us", "UTC")})
    written = csv_rows(frame)
    read = list(csv.reader(io.StringIO(written.decode(), newline="")))
    assert [(user, time, kind, float(rate)) for user, time, kind, rate in read] == [
        (user, time_text(moment), "heart_rate", rate) for user, moment, rate in rows
    ]
    assert all("." not in value or not value.endswith(".0") for _, _, _, value in read)
