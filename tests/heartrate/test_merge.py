"""The merge rules, on frames alone and through the whole service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.heartrate.synthetic import DAY, MIDNIGHT, MINUTE, TEN, Row, at, batch, model_points

from mockexport.heartrate.readings import Point, Readings
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table.merge import SCHEMA, best_by_minute, keep_latest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["pending", "flushed", "compacted"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Asked]:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as opened:
        yield Asked(opened, request.param)


class Asked:
    """A service whose readings are where the test wants them when it is asked."""

    def __init__(self, opened: HeartRate, where: str) -> None:
        self.opened, self.where = opened, where

    def keep(self, *rows: Row) -> None:
        self.opened.accept(batch(*rows)).result(60)
        if self.where != "pending":
            self.opened.flush()

    def points(self, user: str, start: int, end: int, device: str | None = None) -> list[Point]:
        if self.where == "compacted":
            self.opened.compact()
        return self.opened.query(user, start, end, device)


def test_60_80_100_average_to_80(service: Asked) -> None:
    service.keep(*[("u", "device_a", TEN + second * 1_000_000, rate) for second, rate in enumerate([60, 80, 100])])
    assert service.points("u", TEN, TEN + MINUTE) == [Point(TEN, 80.0, "device_a")]


def test_101_single_readings_one_after_another_are_all_averaged(service: Asked) -> None:
    for number in range(101):
        service.opened.accept(batch(("u", "device_a", TEN + number * 500_000, 50.0 + number))).result(60)
    if service.where != "pending":
        service.opened.flush()
    assert service.points("u", TEN, TEN + MINUTE - 1) == [Point(TEN, 100.0, "device_a")]


def test_1000_readings_in_one_batch_are_all_kept(service: Asked) -> None:
    service.keep(*[("u", "device_a", TEN + number * MINUTE, 70.0) for number in range(1000)])
    assert len(service.points("u", TEN, TEN + 1000 * MINUTE)) == 1000


def test_the_best_device_is_chosen_among_those_that_reported_in_that_minute(service: Asked) -> None:
    service.keep(("u", "device_a", TEN, 60), ("u", "device_b", TEN, 90), ("u", "device_b", TEN + MINUTE, 92))
    service.keep(("u", "somebody's", TEN + MINUTE, 150), ("u", "somebody's", TEN + 2 * MINUTE, 150))
    assert service.points("u", TEN, TEN + 3 * MINUTE) == [
        Point(TEN, 60.0, "device_a"),
        Point(TEN + MINUTE, 92.0, "device_b"),
        Point(TEN + 2 * MINUTE, 150.0, "somebody's"),
    ]


def test_two_devices_in_one_minute_are_never_averaged_together(service: Asked) -> None:
    service.keep(("u", "device_b", TEN, 200), ("u", "device_a", TEN + 1, 60), ("u", "device_a", TEN + 2, 62))
    assert service.points("u", TEN, TEN + MINUTE) == [Point(TEN, 61.0, "device_a")]


def test_a_device_that_is_asked_for_answers_alone(service: Asked) -> None:
    service.keep(("u", "device_a", TEN, 60), ("u", "device_b", TEN, 90), ("u", "device_b", TEN + MINUTE, 92))
    assert service.points("u", TEN, TEN + MINUTE, "device_b") == [
        Point(TEN, 90.0, "device_b"),
        Point(TEN + MINUTE, 92.0, "device_b"),
    ]
    assert service.points("u", TEN, TEN + MINUTE, "device_c") == []


def test_equal_priorities_are_decided_by_device_id(service: Asked) -> None:
    service.keep(("u", "zeta", TEN, 60), ("u", "alpha", TEN, 90), ("u", "Ωmega", TEN, 120))
    assert service.points("u", TEN, TEN) == [Point(TEN, 90.0, "alpha")]


def test_a_minute_ends_where_the_day_does(service: Asked) -> None:
    border = MIDNIGHT + DAY
    service.keep(("u", "device_a", border - 1, 60), ("u", "device_a", border, 80), ("u", "device_a", border + 1, 90))
    assert service.points("u", border - MINUTE, border + MINUTE) == [
        Point(border - MINUTE, 60.0, "device_a"),
        Point(border, 85.0, "device_a"),
    ]
    assert service.points("u", border, border) == [Point(border, 80.0, "device_a")]


def test_timestamps_with_offset_fraction_and_none_of_them_meet_in_utc_across_midnight(service: Asked) -> None:
    texts = [
        "2024-01-16T01:59:59.999999+02:00",
        "2024-01-15T23:59:00",
        "2024-01-15T18:00:00.5-06:00",
        "2024-01-16T00:00:00.25Z",
    ]
    service.keep(
        *[("u", "device_a", at(text), rate) for text, rate in zip(texts, [60.0, 70.0, 80.0, 90.0], strict=True)]
    )
    midnight = at("2024-01-16T00:00:00Z")
    assert service.points("u", midnight - MINUTE, midnight + MINUTE) == [
        Point(midnight - MINUTE, 65.0, "device_a"),
        Point(midnight, 85.0, "device_a"),
    ]


def test_of_a_reading_sent_again_the_last_one_stands_and_counts_once(service: Asked) -> None:
    service.keep(("u", "device_a", TEN, 60), ("u", "device_a", TEN + 1, 100))
    service.keep(("u", "device_a", TEN, 70), ("u", "device_a", TEN, 80))
    assert service.points("u", TEN, TEN + 1) == [Point(TEN, 90.0, "device_a")]
    assert [day.rows for day in service.opened.days()] == [2]


def test_the_ends_of_a_range_belong_to_it_and_other_users_do_not(service: Asked) -> None:
    service.keep(*[(user, "device_a", TEN + offset, 60.0 + offset) for user in ("u", "v") for offset in range(5)])
    assert service.points("u", TEN + 1, TEN + 3) == [Point(TEN, 62.0, "device_a")]
    assert service.points("u", TEN + 3, TEN + 1) == []
    assert service.points("nobody", TEN, TEN + 5) == []


@pytest.mark.gate
def test_names_of_any_script_and_times_before_1970_are_kept_as_they_are(service: Asked) -> None:
    names = ["../../etc", "a'b\"c\\", "日本語", "col(user)", "x" * 128, "\U0001f493", " ", "date=2024"]
    early = at("0001-01-01T00:00:00Z")
    for name in names:
        service.keep((name, name, -1, 60), (name, name, early, 70), (name, name, at("9999-12-31T23:59:59.999999Z"), 80))
    for name in names:
        assert [point.heart_rate for point in service.points(name, early, at("9999-12-31T23:59:59.999999Z"))] == [
            70,
            60,
            80,
        ]
        assert service.points(name, -MINUTE, -1) == [Point(-MINUTE, 60.0, name)]


rows = st.lists(
    st.tuples(
        st.just("u"),
        st.sampled_from(["device_a", "device_b", "x", "y"]),
        st.integers(-3 * MINUTE, 3 * MINUTE),
        st.integers(60, 440).map(lambda quarter: quarter / 2),
    ),
    min_size=1,
    max_size=40,
)


@given(rows, st.dictionaries(st.sampled_from(["device_a", "x", "y"]), st.integers(-2, 1000)))
def test_the_frames_answer_as_plain_python_does(rows: list[Row], priorities: dict[str, int]) -> None:
    columns = batch(*rows)
    frame = pl.DataFrame(
        [columns.users, columns.devices, columns.times, columns.rates, list(range(len(rows)))],
        schema=SCHEMA,
        orient="col",
    )
    found = best_by_minute(keep_latest(frame.sample(fraction=1, shuffle=True, seed=1)), priorities)
    expected = model_points(rows, "u", -DAY, DAY, priorities=priorities)
    assert [(int(row[0].timestamp() * 1e6), *row[1:]) for row in found.iter_rows()] == [
        tuple(point) for point in expected
    ]


def test_a_batch_of_no_reading_or_too_many_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data") as opened:
        for count in (0, 1001):
            with pytest.raises(ValueError, match="1 to 1000"):
                opened.accept(Readings(["u"] * count, ["d"] * count, [TEN] * count, [60.0] * count))
