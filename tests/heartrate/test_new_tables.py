"""Servers with a journal of their own that make one table at the same instant."""

from __future__ import annotations

from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from tests.heartrate.racing import Found, at_once, one_is_named
from tests.moto import moto_server, variables_for

from mockexport.errors import UnreachableError
from mockexport.heartrate.service import HeartRate
from mockexport.heartrate.table.store import DeltaStore


def open_table(url: str, journal: str) -> Found:
    with HeartRate(url, journal=Path(journal), flush_seconds=3600) as service:
        assert service._journal
        return Found(service._journal.id, ",".join(service._store.journals))


def test_a_table_that_another_server_has_just_made_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = DeltaTable.create

    def create_late(*_arguments: object, **_options: object) -> None:
        monkeypatch.setattr(DeltaTable, "create", create)
        DeltaStore(tmp_path / "table")
        raise DeltaError("protocol changed")

    monkeypatch.setattr(DeltaTable, "create", create_late)
    assert DeltaStore(tmp_path / "table").snapshot().version == 0


def test_a_table_that_can_not_be_made_is_told_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_arguments: object, **_options: object) -> None:
        raise DeltaError("no room")

    monkeypatch.setattr(DeltaTable, "create", create)
    with pytest.raises(UnreachableError, match=r"cannot open the table .*: no room"):
        DeltaStore(tmp_path / "table")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [50])
def test_of_servers_that_make_a_table_on_s3_at_once_one_is_named_and_the_others_are_refused(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with moto_server() as server:
        for name, value in variables_for(server).items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=server).create_bucket(Bucket="readings")
        rounds = [
            [(f"s3://readings/{number}", str(tmp_path / f"{number}-{each}")) for each in range(3)]
            for number in range(count)
        ]
        for found in at_once(open_table, rounds):
            assert one_is_named(found), found
            assert sum(bool(each.refused) for each in found) == 2
