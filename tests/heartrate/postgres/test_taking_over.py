"""A server that takes the table over from another one."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.synthetic import MINUTE, TEN, batch

from mockexport.heartrate.journal import lacks
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.heartrate.postgres.server import Cluster

pytestmark = pytest.mark.postgres


def test_what_a_new_leader_drops_from_memory_is_in_the_table_that_its_queries_read(
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """Otherwise a query at that moment would find it in neither."""
    monkeypatch.setattr("mockexport.heartrate.node.REFRESH_SECONDS", 3600.0)  # so its table is old
    with (
        HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as one,
        HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as two,
    ):
        for number in range(3):
            one.accept(batch(("u", "device_a", TEN + number * MINUTE, 60.0 + number))).result(60)
        expected = one.query("u", TEN, TEN + 9 * MINUTE)
        assert two.query("u", TEN, TEN + 9 * MINUTE) == expected
        one.flush()
        one.close()
        drop, missing = two._pending.drop, []

        def dropped(positions: Mapping[str, int]) -> None:
            drop(positions)
            missing.append(lacks(two._store.positions(positions), positions))

        monkeypatch.setattr(two._pending, "drop", dropped)
        assert two._node
        eventually(two._node.lead)
        assert missing
        assert not any(missing)
        assert two.query("u", TEN, TEN + 9 * MINUTE) == expected


def test_a_leader_that_can_not_write_the_table_lets_another_server_lead(
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    monkeypatch.setattr("mockexport.heartrate.service.RESIGN_SECONDS", 0.5)
    (tmp_path / "data").mkdir()
    (tmp_path / "road").symlink_to(tmp_path / "data")
    with (
        HeartRate(tmp_path / "road", journal=url, flush_seconds=0.2) as one,
        HeartRate(tmp_path / "data", journal=url, flush_seconds=0.2) as two,
    ):
        assert [one.statistics().role, two.statistics().role] == ["leader", "follower"]
        (tmp_path / "road").unlink()  # only the leader's way to the table is cut
        two.accept(batch(("u", "device_a", TEN, 60.0))).result(60)
        eventually(lambda: two.statistics().role == "leader" and not two.statistics().pending_batches)
        assert one.statistics().role == "follower"
        assert [point.heart_rate for point in two.query("u", TEN, TEN)] == [60.0]
        (tmp_path / "road").symlink_to(tmp_path / "data")


def test_a_database_that_lacks_the_last_terms_gets_a_leader_whose_term_is_new_to_the_table(
    tmp_path: Path, postgres: Cluster, database: str, url: str
) -> None:
    """A backup of it, or a standby that was behind."""
    for number in range(3):
        with HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as service:
            service.accept(batch(("u", "device_a", TEN + number * MINUTE, 60.0 + number))).result(60)
    postgres.run("UPDATE mockexport_heartrate.meta SET term = 0", database)
    for number in range(3, 5):
        with HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as service:
            assert service.statistics().term == number + 1
            service.accept(batch(("u", "device_a", TEN + number * MINUTE, 60.0 + number))).result(60)
            service.flush()
            assert service.statistics().pending_readings == 0
            assert len(service.query("u", TEN, TEN + 9 * MINUTE)) == number + 1


def test_a_server_starts_however_long_the_journal_takes_to_read(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as service:
        for number in range(30):
            service.accept(batch(("u", "device_a", TEN + number * MINUTE, 60.0))).result(60)
        service._flusher = service._maintenance = None  # as after a crash: nothing is moved to the table
    asked = iter(range(10_000))
    slow = SimpleNamespace(monotonic=lambda: time.monotonic() + next(asked))  # each portion seems to take a second
    monkeypatch.setattr("mockexport.heartrate.journal.postgres.reader.time", slow)
    monkeypatch.setattr("mockexport.heartrate.journal.postgres.reader.PORTION", 1)
    monkeypatch.setattr("mockexport.heartrate.journal.postgres.reader.SECONDS", 3600.0)
    with HeartRate(tmp_path / "data", journal=url, flush_seconds=3600) as service:
        assert service.statistics().journaled_position
        monkeypatch.undo()
        assert len(service.query("u", TEN, TEN + 60 * MINUTE)) == 30


def test_a_backup_of_the_database_adds_nothing_twice_and_new_readings_come_after_those_of_the_table(
    tmp_path: Path, postgres: Cluster, database: str, url: str
) -> None:
    """Also in a stream that the backup does not know."""
    data, backup = tmp_path / "data", f"{database}_backup"
    with HeartRate(data, journal=url, flush_seconds=3600) as service:
        service.accept(batch(*(("u", "device_a", TEN + number * MINUTE, 60.0) for number in range(3)))).result(60)
        service._flusher = service._maintenance = None  # as after a crash: the backup has them, and the table later
    postgres.run(f"CREATE DATABASE {backup} TEMPLATE {database}")
    with HeartRate(data, journal=url) as one, HeartRate(data, journal=url) as two:
        for number, service in enumerate([one, two, one, two]):
            service.accept(batch(("u", "device_a", TEN + number * MINUTE, 70.0))).result(60)
    url = url.replace(database, backup)
    try:
        with HeartRate(data, journal=url) as one, HeartRate(data, journal=url) as two:
            assert [point.heart_rate for point in two.query("u", TEN, TEN + 9 * MINUTE)] == [70.0] * 4
            for service, rate in ((one, 80.0), (two, 90.0)):
                service.accept(batch(("u", "device_a", TEN, rate))).result(60)
                assert [point.heart_rate for point in one.query("u", TEN, TEN)] == [rate]
                assert [point.heart_rate for point in two.query("u", TEN, TEN)] == [rate]
        with HeartRate(data, journal=url) as service:
            assert service.statistics().pending_readings == 0
            assert [point.heart_rate for point in service.query("u", TEN, TEN + 9 * MINUTE)] == [90.0, 70.0, 70.0, 70.0]
    finally:
        postgres.run(f"DROP DATABASE IF EXISTS {backup} WITH (FORCE)")
