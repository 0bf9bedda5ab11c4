"""The service as a whole: what it promises beside the merge rules."""

from __future__ import annotations

import gc
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.heartrate.synthetic import DAY, MIDNIGHT, MINUTE, TEN, batch

from mockexport.errors import ChangedError, UntrustedDataError
from mockexport.heartrate import table
from mockexport.heartrate.journal import JournalFullError
from mockexport.heartrate.readings import time_of
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table import maintenance, queries
from mockexport.heartrate.table.schema import File

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl


def test_a_reading_is_visible_from_its_acknowledgement_on_while_all_else_goes_on(tmp_path: Path) -> None:
    problems: list[str] = []

    def post_and_ask(service: HeartRate, user: str) -> None:
        for number in range(30):
            service.accept(batch((user, "device_a", TEN + number * MINUTE, 60.0 + number))).result(60)
            if len(service.query(user, TEN, TEN + DAY)) != number + 1:
                problems.append(f"{user} {number}")

    with HeartRate(tmp_path / "data", flush_seconds=0.01) as service:
        threads = [threading.Thread(target=post_and_ask, args=(service, f"user_{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            service.flush()
            service.compact()
            service.tidy()
        assert problems == []
        assert service.statistics().compactions > 0


def test_a_flush_between_the_two_looks_of_a_query_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        real = service._pending.frames

        def flushed_meanwhile() -> list[pl.DataFrame]:
            service.flush()
            return real()

        monkeypatch.setattr(service._pending, "frames", flushed_meanwhile)
        assert len(service.query("u", TEN, TEN)) == 1
        assert [day.rows for day in service.days()] == [1]


def test_a_full_journal_refuses_before_accepting_and_takes_again_once_flushed(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600, journal_limit=20_000) as service:
        kept = 0

        def fill() -> None:
            nonlocal kept
            for number in range(1000):
                service.accept(batch(*[("u", "d", TEN + number * 100 + row, 60.0) for row in range(10)])).result(60)
                kept += 10

        with pytest.raises(JournalFullError, match="has reached its limit of 20,000 bytes") as caught:
            fill()
        assert caught.value.retry_after >= 1
        assert [day.rows for day in service.days()] == [kept]
        service.flush()
        assert service.problem() is None
        service.accept(batch(("u", "d", MIDNIGHT, 60.0))).result(60)


def test_readings_move_to_the_table_by_themselves(
    tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=0.05) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)

        def has_moved() -> bool:
            found = service.statistics()
            return (found.files, found.pending_readings) == (
                1,
                0,
            ) and found.flushed_position == found.journaled_position

        eventually(has_moved)


def test_a_days_etag_stays_when_files_are_rewritten_and_changes_when_readings_come(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        etags = []
        for number in range(2):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            etags.append(service.days()[0].etag)
            service.flush()
            assert service.days()[0].etag == etags[-1]
        service.compact()
        assert service.days()[0].etag == etags[-1]
        assert etags[0] != etags[1]


def test_the_rows_of_a_day_that_changed_since_it_was_counted_are_refused(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data") as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        (day,) = service.days()
        service.accept(batch(("u", "d", TEN, 70.0))).result(60)
        with pytest.raises(UntrustedDataError, match="2024-01-15 have changed since they were counted; start again"):
            list(service.rows(day))


@pytest.mark.gate
def test_the_rows_of_a_day_are_as_they_were_when_reading_them_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 10)
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        for number in range(20):
            service.accept(batch(*[(f"user_{row}", "d", TEN + number, 60.0) for row in range(20)])).result(60)
            if number % 3 == 0:
                service.flush()
        (day,) = service.days()
        rows = service.rows(day)
        first = next(rows)
        service.accept(batch(("user_9", "d", TEN + 100, 60.0))).result(60)
        service.flush()
        service.compact()
        service.tidy()
        frames = [first, *rows]
        found = [row for frame in frames for row in frame.iter_rows()]
        assert found == sorted(found)
        assert len(found) == day.rows == 400
        assert max(frame.height for frame in frames) <= 40
        assert len(frames) > 10


@pytest.mark.gate
def test_a_day_larger_than_memory_should_hold_is_compacted_in_pieces_that_do_not_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 50)
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        for number in range(10):
            rows = [(f"user_{row % 7}", "d", TEN + row + 20 * number, 60.0 + number) for row in range(40)]
            service.accept(batch(*rows, *[("alone", "d", TEN + row + 10 * number, 60.0) for row in range(60)])).result(
                60
            )
            service.flush()
        before = service.days()
        service.compact()
        files = service._store.snapshot().days[time_of(TEN).date()]
        assert len(files) > 3
        assert len({file.run for file in files}) == 1
        assert service.days() == before


def test_runs_are_compacted_by_size_so_that_a_large_one_is_not_rewritten_for_each_small_one() -> None:
    day = time_of(TEN).date()
    large = [File(f"large-{number}", day, 1 << 20, 1) for number in range(3)]
    small = [File(f"small{number}-0", day, 1000, 1) for number in range(6)]
    assert maintenance.runs_to_compact([*large, *small[:5]]) == []
    assert maintenance.runs_to_compact([*large, *small]) == small
    middle = [File(f"middle{number}-0", day, 1 << 18, 1) for number in range(6)]
    assert set(maintenance.runs_to_compact([*large, *small[:2], *middle])) == {*small[:2], *middle}


def test_days_that_ended_longer_ago_than_is_retained_are_dropped_and_no_others(tmp_path: Path) -> None:
    now = time_of(MIDNIGHT + 10 * DAY + 1)
    with HeartRate(tmp_path / "data", flush_seconds=3600, retain=timedelta(days=3), now=lambda: now) as service:
        service.accept(batch(*[("u", "d", MIDNIGHT + day * DAY, 60.0) for day in range(11)])).result(60)
        service.flush()
        service.drop_old_days()
        assert [day.first for day in service.days()] == [MIDNIGHT + day * DAY for day in range(7, 11)]
        assert service.statistics().dropped_days == 7
        assert len(service.query("u", MIDNIGHT, MIDNIGHT + 11 * DAY)) == 4


@pytest.mark.gate
def test_files_and_log_do_not_pile_up(tmp_path: Path) -> None:
    with HeartRate(tmp_path / "data", flush_seconds=3600) as service:
        service._store.grace = 0
        for number in range(40):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            service.flush()
            service.compact(fully=False)
            service.tidy()
        assert service.statistics().files < 12
        assert len(list((tmp_path / "data" / "table").glob("date=*/*.parquet"))) < 14
        assert [day.rows for day in service.days()] == [40]


PIECES = 8


def many_pieces(service: HeartRate) -> None:
    for number in range(PIECES):
        service.accept(batch(*[(f"user_{row}", "d", TEN + number, 60.0) for row in range(20)])).result(60)
        service.flush()


@pytest.mark.gate
@pytest.mark.parametrize("how", ["dropped", "compacted"])
def test_a_day_that_is_dropped_or_rewritten_while_it_is_read_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr("mockexport.heartrate.service.MAINTENANCE_SECONDS", 3600.0)  # or it drops the day on its own
    now = time_of(TEN + 10 * DAY)
    options: dict[str, Any] = {"retain": timedelta(days=3), "trust_clock": True}
    with HeartRate(tmp_path / "data", flush_seconds=3600, now=lambda: now, **options) as service:
        service._store.grace = 0
        many_pieces(service)
        (day,) = service.days()
        rows = service.rows(day)
        first = next(rows)
        if how == "dropped":
            service.drop_old_days()
        else:
            service.compact()
        gc.collect()
        service.tidy()
        assert sum(frame.height for frame in [first, *rows]) == 20 * PIECES
        rows.close()
        assert [day.rows for day in service.days()] == ([] if how == "dropped" else [20 * PIECES])


@pytest.mark.gate
@pytest.mark.parametrize("how", ["dropped", "compacted"])
def test_a_day_whose_files_another_process_tidied_away_while_it_was_read_is_a_clean_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr("mockexport.heartrate.service.MAINTENANCE_SECONDS", 3600.0)  # or it drops the day on its own
    now = time_of(TEN + 10 * DAY)
    options: dict[str, Any] = {"retain": timedelta(days=3), "trust_clock": True}
    with HeartRate(tmp_path / "data", flush_seconds=3600, now=lambda: now, **options) as service:
        service._store.grace = 0
        many_pieces(service)
        reader = HeartRate(tmp_path / "data", read_only=True)
        (day,) = reader.days()
        rows = reader.rows(day)
        next(rows)
        if how == "dropped":
            service.drop_old_days()
        else:
            service.compact()
        gc.collect()
        service.tidy()
        with pytest.raises(ChangedError, match="the readings of 2024-01-15 were dropped or moved while they were read"):
            list(rows)
        if how == "dropped":
            with pytest.raises(ChangedError, match="have changed since they were counted; start again"):
                list(reader.rows(day))
        else:
            (day,) = reader.days()
            assert sum(frame.height for frame in reader.rows(day)) == 20 * PIECES


def test_a_day_that_is_dropped_between_two_looks_at_it_is_a_clean_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.heartrate.service.MAINTENANCE_SECONDS", 3600.0)  # or it drops the day on its own
    now = time_of(TEN + 10 * DAY)
    with HeartRate(
        tmp_path / "data", flush_seconds=3600, now=lambda: now, retain=timedelta(days=3), trust_clock=True
    ) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        service.flush()
        (day,) = service.days()
        real = table.days_in
        calls = []

        def dropped_after(*arguments: Any) -> Any:
            found = real(*arguments)
            calls.append(1)
            service.drop_old_days()
            return found

        monkeypatch.setattr(table, "days_in", dropped_after)
        assert sum(frame.height for frame in service.rows(day)) == 1
        assert calls
        with pytest.raises(ChangedError):
            list(service.rows(day))
