"""One server at a time writes a table: what an older term would still write is refused, in a folder and on S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3  # type: ignore[import-untyped]
import polars as pl
import pytest
from deltalake import DeltaTable
from tests.heartrate.synthetic import TEN
from tests.moto import moto_server, variables_for

from mockexport.errors import UnreachableError
from mockexport.heartrate.readings import date_of
from mockexport.heartrate.table import store as store_module
from mockexport.heartrate.table.merge import SCHEMA
from mockexport.heartrate.table.store import DeltaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deltalake.transaction import AddAction, RemoveAction

TODAY = date_of(TEN)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(params=["folder", "S3"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "table")
    server = request.getfixturevalue("s3")
    for name, value in variables_for(server).items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket="readings")
    return f"s3://readings/{request.node.name}"


def frame(*times: int) -> pl.DataFrame:
    columns = {"user": "u", "device": "d", "time": list(times), "rate": 60.0, "sequence": list(times)}
    return pl.DataFrame(columns).cast(SCHEMA)  # type: ignore[arg-type]


def leader(table: str, term: int) -> DeltaStore:
    store = DeltaStore(table, journal="j", term=term)
    store.begin_term()
    return store


def add(store: DeltaStore, position: int, had: int = 0) -> int:
    return store.append([(TODAY, frame(position))], "j", {"j-0": position}, had={"j-0": had} if had else {})


def held(table: str) -> list[int]:
    store = DeltaStore(table, read_only=True)
    files = [file for files in store.snapshot().days.values() for file in files]
    return sorted(store.scan(files).collect()["sequence"]) if files else []


def paused(monkeypatch: pytest.MonkeyPatch, store: DeltaStore, meanwhile: Callable[[], object]) -> None:
    """Let something happen between all checks of the store's next commit and the commit itself."""
    real = store._commit_actions

    def later(actions: Sequence[AddAction | RemoveAction], marks: dict[str, int]) -> None:
        meanwhile()
        real(actions, marks)

    monkeypatch.setattr(store, "_commit_actions", later)


CHANGES: dict[str, Callable[[DeltaStore], object]] = {
    "flush": lambda store: add(store, 3, had=2),
    "compaction": lambda store: store.replace(store.snapshot().days[TODAY], [frame(1, 2)], TODAY),
    "drop": lambda store: store.remove(store.snapshot().days[TODAY]),
    "name": lambda store: store.name_journal("j", "postgresql://elsewhere/db"),
}


@pytest.mark.gate
@pytest.mark.parametrize(
    ("what", "when"),
    [(what, "before") for what in CHANGES] + [(what, "meanwhile") for what in ("flush", "compaction", "drop")],
)
def test_nothing_of_an_older_term_is_written_once_a_newer_one_has_begun(
    table: str, what: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = leader(table, 1)
    add(old, 1)
    add(old, 2, had=1)
    if when == "before":
        leader(table, 2)
    else:
        paused(monkeypatch, old, lambda: leader(table, 2))
    version = DeltaStore(table, read_only=True).snapshot().version
    with pytest.raises(UnreachableError, match=r"another server writes|Concurrent transaction"):
        CHANGES[what](old)
    assert held(table) == [1, 2]
    assert DeltaStore(table, read_only=True).snapshot().version == version + (when == "meanwhile")


@pytest.mark.gate
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_flush_that_the_next_leader_has_made_already_is_not_made_twice(
    table: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = leader(table, 1)
    add(old, 1)

    def take_over() -> None:
        add(leader(table, 2), 2, had=1)

    if when == "before":
        take_over()
    else:
        paused(monkeypatch, old, take_over)
    with pytest.raises(UnreachableError):
        add(old, 2, had=1)
    assert held(table) == [1, 2]


@pytest.mark.gate
def test_a_flush_is_refused_if_the_table_has_other_positions_than_it_was_made_for(table: str) -> None:
    store = leader(table, 1)
    add(store, 1)
    with pytest.raises(UnreachableError, match="another server has added the same batches"):
        add(store, 1)
    assert held(table) == [1]


@pytest.mark.gate
def test_files_that_are_gone_are_not_replaced(table: str) -> None:
    store = leader(table, 1)
    add(store, 1)
    files = store.snapshot().days[TODAY]
    store.replace(files, [frame(1)], TODAY)
    with pytest.raises(UnreachableError, match="another server has replaced the same files"):
        store.replace(files, [frame(1)], TODAY)
    assert held(table) == [1]


def test_an_older_leader_neither_tidies_nor_writes_checkpoints(tmp_path: Path) -> None:
    old = leader(str(tmp_path / "table"), 1)
    old.grace = 0
    add(old, 1)
    new = leader(str(tmp_path / "table"), 2)
    unfinished = tmp_path / "table" / f"date={TODAY}" / "of the new leader-0.parquet"
    unfinished.write_bytes(b"PAR1")
    with pytest.raises(UnreachableError, match=r"another server writes the table .* in term 2, not 1"):
        old.tidy()
    with pytest.raises(UnreachableError, match=r"another server writes the table .* in term 2, not 1"):
        old.checkpoint(-1000)
    assert unfinished.exists()
    assert new.checkpoint(-1000) == new.snapshot().version


def test_a_leader_that_was_paused_until_the_log_it_knew_was_deleted_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table"
    old = leader(str(table), 1)
    add(old, 1)

    def an_hour() -> None:
        new = leader(str(table), 2)
        for position in range(2, 10):
            add(new, position, had=position - 1)
        made = new.checkpoint(-store_module.COMMITS_A_CHECKPOINT)
        for number in range(made or 0):
            (table / "_delta_log" / f"{number:020}.json").unlink()

    paused(monkeypatch, old, an_hour)
    with pytest.raises(UnreachableError):
        add(old, 2, had=1)
    assert held(str(table)) == list(range(1, 10))
    assert DeltaTable(table).transaction_version("j.term") == 2


def test_a_server_that_follows_writes_nothing(tmp_path: Path) -> None:
    add(leader(str(tmp_path / "table"), 1), 1)
    follower = DeltaStore(tmp_path / "table", journal="j", read_only=True)
    with pytest.raises(UnreachableError, match="this server does not write the table"):
        add(follower, 2, had=1)


def test_an_older_term_cannot_begin_again(table: str) -> None:
    leader(table, 2)
    with pytest.raises(UnreachableError, match="in term 2, not 1"):
        leader(table, 1)
