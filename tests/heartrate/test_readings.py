"""What a timestamp may look like."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport.heartrate.readings import LeapSecondError, date_of, parse_instant, parse_timestamp, time_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2024-01-15T10:00:00Z", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15T10:00:00", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15 10:00", "2024-01-15T10:00:00+00:00"),
        ("20240115T100000Z", "2024-01-15T10:00:00+00:00"),
        ("2024-W03-1T10", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15T23:30:00-01:00", "2024-01-16T00:30:00+00:00"),
        ("2024-01-15T10:00:00.123456789Z", "2024-01-15T10:00:00.123456+00:00"),
        ("2024-01-15t10:00:00z", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15 10:00:00Z", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15T10:00:00-00:00", "2024-01-15T10:00:00+00:00"),
        ("2024-01-15T24:00:00Z", "2024-01-16T00:00:00+00:00"),
        ("2024-01-15 24:00", "2024-01-16T00:00:00+00:00"),
        ("20240115t240000.000z", "2024-01-16T00:00:00+00:00"),
        ("2024-02-29T24:00:00+02:00", "2024-02-29T22:00:00+00:00"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_timestamp_is_iso_8601_and_means_utc_without_an_offset(text: str, meant: str) -> None:
    assert time_of(parse_timestamp(text)) == datetime.fromisoformat(meant)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2024-01-15", "20240115", "2024-W03-1", "2024-01-15x10:00:00", "2024-13-01T10:00:00Z",
        "2024-02-30T10:00:00Z", "2024-01-15T25:00:00Z", "2024-01-15T10:00:60Z", "1705312800", "10:00:00",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", " 2024-01-15T10:00:00Z", "2024-01-15T24:00:01Z",
        "2024-01-15T24:01", "9999-12-31T24:00:00Z", "\uff12024-01-15T10:00:00Z",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


@pytest.mark.parametrize(
    "text", ["2016-12-31T23:59:60Z", "2016-12-31t23:59:60.5z", "20161231T235960", "2017-01-01 01:59:60+02:00"]
)
def test_a_leap_second_is_refused_as_such(text: str) -> None:
    with pytest.raises(LeapSecondError, match="leap seconds are not supported"):
        parse_instant(text)


@pytest.mark.parametrize("text", ["2016-13-31T23:59:60Z", "2016-12-31T25:59:60Z", "2016-12-31T23:60:60Z"])
def test_what_is_wrong_otherwise_is_no_leap_second(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_instant(text)
    assert not isinstance(refused.value, LeapSecondError)


@pytest.mark.parametrize("text", ["2024-02-29", "20240229", "2024-W09-4"])
def test_a_date_is_its_first_instant_and_as_an_end_its_last_one(text: str) -> None:
    assert time_of(parse_instant(text)) == datetime(2024, 2, 29, tzinfo=UTC)
    assert time_of(parse_instant(text, is_end=True)) == datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("is_end", [False, True])
def test_a_time_is_the_same_at_either_end(*, is_end: bool) -> None:
    assert parse_instant("2024-02-29T00:00", is_end=is_end) == parse_instant("2024-02-29")


@pytest.mark.parametrize("text", ["", "2024", "2024-02", "2024-02-30", "2024-2-1", "24-02-01", "2024-02-29Z", "today"])
def test_what_is_neither_a_date_nor_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(text)


@given(
    st.datetimes(
        min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)  # fmt: skip
def test_every_moment_survives_the_way_there_and_back_to_the_microsecond(moment: datetime) -> None:
    time = parse_timestamp(moment.isoformat())
    assert time_of(time) == moment
    assert date_of(time) == moment.astimezone(UTC).date()
