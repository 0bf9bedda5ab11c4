"""Clocks that are wrong: of devices, and of this machine."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH, ONE, kept
from tests.heartrate.synthetic import DAY, MIDNIGHT, TEN, batch
from tests.sources import WAIT_SECONDS

from mockexport.errors import UntrustedDataError
from mockexport.heartrate.journal.contract import LAST_ID, JournalError
from mockexport.heartrate.journal.journal import LAST_CLOCK_ID, SqliteJournal
from mockexport.heartrate.readings import EARLIEST, LATEST, time_of
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table.pending import SEQUENCES_A_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = time_of(TEN)


class Clock:
    """Says what it is told to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_reading_of_more_than_a_day_ahead_is_400_alone_and_rejected_in_a_batch(tmp_path: Path, clock: Clock) -> None:
    clock.now = datetime(2100, 1, 15, 10, tzinfo=UTC)
    with kept(tmp_path, now=clock) as (client, service):
        late, too_late = "2100-01-16T10:00:00Z", "2100-01-16T10:00:00.000001Z"
        assert client.post(ONE, json=reading(timestamp=late)).status_code == 202
        answer = client.post(ONE, json=reading(timestamp=too_late))
        told = "timestamp: is too far in the future by the server's clock"
        assert (answer.status_code, answer.json()) == (400, {"detail": told})
        answer = client.post(BATCH, json={"readings": [reading(timestamp=late), reading(timestamp=too_late)]})
        assert answer.json()["errors"] == [{"index": 1, "reason": told}]
        assert client.post(BATCH, json={"readings": [reading(timestamp=too_late)]}).status_code == 400
        assert [day.rows for day in service.days()] == [1]


def test_how_far_ahead_a_reading_may_be_can_be_told(tmp_path: Path, clock: Clock) -> None:
    clock.now = datetime(2100, 1, 15, 10, tzinfo=UTC)
    with kept(tmp_path, now=clock, accept_ahead=timedelta(hours=1)) as (client, _):
        assert client.post(ONE, json=reading(timestamp="2100-01-15T11:00:00Z")).status_code == 202
        assert client.post(ONE, json=reading(timestamp="2100-01-15T11:00:01Z")).status_code == 400


@pytest.mark.gate
def test_the_command_takes_how_far_ahead_a_reading_may_be(tmp_path: Path) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=30)).isoformat()
    for options, status in (((), 400), (("--accept-ahead", "2d"), 202)):
        with (
            serve_command("--data", tmp_path / "readings", *options) as server,
            httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
        ):
            assert client.post(ONE, json=reading(timestamp=ahead)).status_code == status
            server.kill()
    ended = run_command(tmp_path, "serve", "--data", "readings", "--accept-ahead", "soon")
    assert (ended.code, "--accept-ahead soon is not a number of days or hours" in ended.stderr) == (2, True)


def test_a_clock_that_went_back_refuses_no_reading_that_it_took_before(tmp_path: Path) -> None:
    """What is refused with 400 is not sent again, and would be lost."""
    clock = Clock(datetime.now(UTC))
    with kept(tmp_path, now=clock) as (client, _):
        now = clock.now.isoformat()
        assert client.post(ONE, json=reading(timestamp=now)).status_code == 202
        clock.now = datetime(1970, 1, 1, tzinfo=UTC)
        assert client.post(ONE, json=reading(timestamp=now)).status_code == 202


def days_kept(service: HeartRate) -> int:
    return len(service.days())


@pytest.fixture
def retaining(tmp_path: Path, clock: Clock) -> Iterator[HeartRate]:
    """It has readings of eleven days up to now, and keeps three."""
    with HeartRate(tmp_path, flush_seconds=3600, retain=timedelta(days=3), now=clock) as service:
        service.accept(batch(*[("u", "d", TEN - day * DAY, 60.0) for day in range(11)])).result(60)
        service.flush()
        yield service


@pytest.mark.parametrize("jump", [timedelta(days=2), timedelta(days=365), timedelta(days=365 * 300)])
def test_a_clock_that_jumps_forward_makes_no_day_old(retaining: HeartRate, clock: Clock, jump: timedelta) -> None:
    retaining.drop_old_days()
    assert days_kept(retaining) == 4
    clock.now = NOW + jump
    if jump > timedelta(days=2):
        with pytest.raises(UntrustedDataError, match=r"was at 2024-01-15 when last recorded, .* trust_clock=True"):
            retaining.drop_old_days()
    assert days_kept(retaining) == 4
    clock.now = NOW + timedelta(hours=1)
    retaining.drop_old_days()
    assert days_kept(retaining) == 4


def test_a_clock_that_jumped_before_the_start_makes_no_day_old_either(tmp_path: Path, clock: Clock) -> None:
    options: dict[str, Any] = {"flush_seconds": 3600, "retain": timedelta(days=3), "now": clock}
    with HeartRate(tmp_path, **options) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        service.flush()
        clock.now = NOW + timedelta(days=1000)
        with pytest.raises(UntrustedDataError, match="never recorded before, but no readings are of that time"):
            service.drop_old_days()
        clock.now = NOW
        service.drop_old_days()
    clock.now = NOW + timedelta(days=1000)
    with HeartRate(tmp_path, **options) as service:
        with pytest.raises(UntrustedDataError, match="was at 2024-01-15 when last recorded"):
            service.drop_old_days()
        assert days_kept(service) == 1
    with HeartRate(tmp_path, **options, trust_clock=True) as service:
        service.drop_old_days()
        assert days_kept(service) == 0


def test_readings_of_these_days_show_that_the_clock_is_right_after_a_long_stop(tmp_path: Path, clock: Clock) -> None:
    with HeartRate(tmp_path, flush_seconds=3600, retain=timedelta(days=3), now=clock) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        service.flush()
        service.drop_old_days()
        clock.now = NOW + timedelta(days=30)
        service.accept(batch(("u", "d", TEN + 30 * DAY, 60.0))).result(60)
        service.flush()
        service.drop_old_days()
        assert days_kept(service) == 1


def test_without_a_new_reading_days_grow_old_with_a_clock_that_only_goes_on(retaining: HeartRate, clock: Clock) -> None:
    for hour in range(0, 24 * 8, 6):
        clock.now = NOW + timedelta(hours=hour)
        retaining.drop_old_days()
    assert days_kept(retaining) == 0


def test_an_age_beyond_all_years_drops_nothing(tmp_path: Path, clock: Clock) -> None:
    with HeartRate(tmp_path, flush_seconds=3600, retain=timedelta(days=999_999), now=clock) as service:
        service.accept(batch(("u", "d", EARLIEST, 60.0), ("u", "d", TEN, 60.0))).result(60)
        service.flush()
        service.drop_old_days()
        assert days_kept(service) == 2


@pytest.mark.parametrize("year", [1969, 2112, 2255, 2256, 9999])
def test_whatever_the_clock_says_ids_rise_and_no_sequence_overflows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    told = int(datetime(year, 12, 31, tzinfo=UTC).timestamp()) * 10**9
    with HeartRate(tmp_path, flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
        monkeypatch.setattr("time.time_ns", lambda: told)
        service.accept(batch(("u", "d", TEN, 70.0))).result(60)
        service.flush()
        monkeypatch.undo()
        service.accept(batch(("u", "d", TEN, 80.0))).result(60)
        assert [point.heart_rate for point in service.query("u", TEN, TEN)] == [80.0]
        service.flush()
        assert [point.heart_rate for point in service.query("u", TEN, TEN)] == [80.0]
        assert service.statistics().journaled_position < LAST_CLOCK_ID + 10
        assert service.problem() is None


def test_the_last_id_there_is_can_be_had_and_no_more(tmp_path: Path) -> None:
    assert (LAST_ID + 1) * SEQUENCES_A_BATCH - 1 == 2**63 - 1
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path, lambda *_: None).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'released'", (LAST_ID - 1,))
    connection.close()
    journal = SqliteJournal(path, lambda *_: None)
    journal.append(b"").result(60)
    assert journal.positions == {journal.id: LAST_ID}
    with pytest.raises(JournalError, match=r"batch ids of .* are used up; use a new journal"):
        journal.append(b"").result(60)
    journal.close()


def test_no_time_is_too_late_to_be_the_latest(tmp_path: Path) -> None:
    clock = Clock(datetime.max.replace(tzinfo=UTC))
    with HeartRate(tmp_path, now=clock, accept_ahead=timedelta(days=999_999)) as service:
        assert service.latest() == LATEST
        clock.now = time_of(MIDNIGHT)
        assert service.latest() == MIDNIGHT + 999_999 * DAY
