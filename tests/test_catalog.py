"""The nouns, and the times in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockexport.model import Download, Export, parse_time, summarise, time_text

EARLY, LATE = datetime(2025, 8, 26, tzinfo=UTC), datetime(2025, 8, 27, 12, tzinfo=UTC)


def download(name: str, **declared: object) -> Download:
    return Download("trial", name, **declared)  # type: ignore[arg-type]


def test_an_export_sums_up_what_its_downloads_declare() -> None:
    export = summarise(
        "trial",
        [
            download("b", rows=3, patients=("P2", "P1"), event_types=("x",), start_time=EARLY, end_time=LATE),
            download("a", rows=4, patients=("P1",), event_types=("y", "x"), start_time=LATE, end_time=LATE),
        ],
    )
    assert export == Export(
        "trial", downloads=2, rows=7, patients=2, event_types=("x", "y"), start_time=EARLY, end_time=LATE
    )


@pytest.mark.parametrize("missing", ["rows", "patients", "event_types", "start_time", "end_time"])
def test_what_one_download_does_not_declare_is_unknown_of_the_export(missing: str) -> None:
    declared = {"rows": 3, "patients": ("P1",), "event_types": ("x",), "start_time": EARLY, "end_time": LATE}
    export = summarise("trial", [download("a", **declared), download("b", **{**declared, missing: None})])
    unknown = {name for name in declared if getattr(export, name) is None}
    assert unknown == {missing}


def test_an_export_without_downloads_has_no_rows_and_no_times() -> None:
    assert summarise("trial", []) == Export("trial", 0, 0, 0, (), None, None)


@pytest.mark.parametrize(
    "text",
    [
        "2025-08-26T17:31:38",
        "2025-08-26T17:31:38Z",
        "2025-08-26T17:31:38+00:00",
        "2025-08-26T19:31:38+02:00",
        "2025-08-26T13:01:38-04:30",
    ],
)
def test_a_time_is_utc_and_means_utc_without_an_offset(text: str) -> None:
    time = parse_time(text)
    assert time == datetime(2025, 8, 26, 17, 31, 38, tzinfo=UTC)
    assert time.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2025-13-01T00:00:00", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"],
)
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_time(text)


def test_the_fraction_of_a_second_is_left_out_when_it_is_zero() -> None:
    assert time_text(EARLY) == "2025-08-26T00:00:00Z"
    assert time_text(EARLY + timedelta(microseconds=906404)) == "2025-08-26T00:00:00.906404Z"


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))]), min_value=datetime(1970, 1, 1)))  # noqa: DTZ001
def test_a_time_that_was_written_is_read_back(time: datetime) -> None:
    assert parse_time(time_text(time.astimezone(UTC))) == time
