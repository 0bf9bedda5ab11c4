"""A server that takes the table over from another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.heartrate.synthetic import MINUTE, TEN, batch

from mockexport.heartrate.journal import lacks
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

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
