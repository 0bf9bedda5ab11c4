"""What a time is: that of Python's own parser, within the forms that are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport.stats import parse_event_time, text_of_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
zones = st.one_of(
    st.just(""),
    st.sampled_from("Zz"),
    st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)),
    st.builds("{}{:02}{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)),
    st.builds("{}{:02}".format, st.sampled_from("+-"), st.integers(0, 23)),
)


def microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


@given(
    st.datetimes().filter(lambda time: 1 < time.year < 9999),  # so that it is in UTC, too
    zones,
    st.sampled_from("Tt "),
)
def test_a_time_is_what_python_reads(time: datetime, zone: str, between: str) -> None:
    text = time.isoformat().replace("T", between) + zone
    read = datetime.fromisoformat(time.isoformat() + zone.upper())
    expected = read.replace(tzinfo=UTC) if read.tzinfo is None else read
    assert parse_event_time(text.encode()) == microseconds(expected)


@given(st.datetimes())
def test_a_time_is_written_as_it_is_read(time: datetime) -> None:
    text = text_of_time(microseconds(time.replace(tzinfo=UTC)))
    assert parse_event_time(text.encode()) == microseconds(time.replace(tzinfo=UTC))
    assert text == time.isoformat() + "Z"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025", "2025-01-01T00:00:00Z"),
        ("2025-08", "2025-08-01T00:00:00Z"),
        ("2025-08-26", "2025-08-26T00:00:00Z"),
        ("2025-08-26T01:02:03.1234567891234Z", "2025-08-26T01:02:03.123456Z"),
        ("2025-08-26T01:02:03.5", "2025-08-26T01:02:03.500000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_less_and_more_than_a_second_are_read(text: str, meant: str) -> None:
    time = parse_event_time(text.encode())
    assert time is not None
    assert text_of_time(time) == meant


@pytest.mark.parametrize(
    "text",
    [
        "", "25", "0000-01-01", "2025-13-01", "2025-02-29", "2025-08-26T24:00:00Z", "2025-08-26T23:59:60Z",
        "2025-08-26T01:02Z", "2025-08-26T01:02:03.Z", "2025-08-26T01:02:03+24:00", "2025-08-26T01:02:03+01:60",
        "2025-08-26Z", "20250826T010203Z", "2025-08-26T01:02:03Z ", " 2025-08-26", "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00", "2025-08-26T01:02:03,5Z", "٢٠٢٥", "now", "1756166400",
    ],
)  # fmt: skip
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_event_time(text.encode()) is None
