"""A table and its journal belong together: without its journal, or with another one, readings would be missing."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH
from tests.heartrate.synthetic import TEN, batch
from tests.heartrate.test_versions import FIRST_FORMAT
from tests.sources import WAIT_SECONDS

from mockexport.errors import MockExportError, UntrustedDataError, UsageError
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLUSHED, PENDING = 10, 40


def keep(data: str | Path, journal: Path | None, first: int = 0, **options: Any) -> None:
    """Have 10 readings in the table and 40 more in the journal alone, as after a crash."""
    with HeartRate(data, journal=journal, flush_seconds=3600, **options) as service:
        for number in range(first, first + FLUSHED + PENDING):
            service.accept(batch(("u", "d", TEN + number, 60.0))).result(60)
            if number == first + FLUSHED - 1:
                service.flush()
        service._flusher = service._maintenance = None  # nothing more is written


def rows(data: str | Path, **options: Any) -> int:
    with HeartRate(data, flush_seconds=3600, **options) as service:
        return sum(day.rows for day in service.days())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    return ((str(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.gate
def test_a_count_of_a_folder_finds_what_its_journal_elsewhere_has(tmp_path: Path) -> None:
    options = ("--data", tmp_path / "data", "--journal", tmp_path / "journal")
    with serve_command(*options) as server, httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        for number in range(50):
            body = {"readings": [reading(timestamp=f"2024-01-15T10:00:{number:02}Z")]}
            assert client.post(BATCH, json=body).status_code == 202
        server.kill()
    counted = run_command(tmp_path, "count", "heart_rate", "-s", "data")
    assert json.loads(counted.stdout)["totals"] == {"heart_rate": 50}
    (tmp_path / "journal").rename(tmp_path / "away")
    refused = run_command(tmp_path, "count", "heart_rate", "-s", "data")
    assert (refused.code, refused.stdout) == (6, "")
    assert f"the journal of data is not in {tmp_path}/journal" in refused.stderr


@pytest.mark.gate
def test_a_server_without_the_journal_of_its_data_is_refused_and_told_where_it_was(tmp_path: Path) -> None:
    keep(tmp_path / "data", tmp_path / "journal")
    for options in ((), ("--journal", "other")):
        ended = run_command(tmp_path, "serve", "--port", "0", "--data", "data", *options)
        assert ended.code == 2
        assert f"that of data was last in {tmp_path}/journal: name that folder as the journal" in ended.stderr
        assert "--replace-journal" in ended.stderr
    assert not (tmp_path / "other").exists()
    with serve_command("--data", tmp_path / "data", "--journal", tmp_path / "journal") as server:
        counted = run_command(tmp_path, "count", "heart_rate", "-s", server.url)
        assert json.loads(counted.stdout)["totals"] == {"heart_rate": 50}
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)


@pytest.mark.parametrize("apart", [True, False])
def test_a_journal_that_was_removed_is_missed(data: Path, journal: Path, apart: bool) -> None:
    keep(data, journal if apart else None)
    for path in (journal if apart else data).glob("journal.sqlite*"):
        path.unlink()
    with pytest.raises(UsageError, match=r"there is no journal in .*, and that of .* was last in"):
        HeartRate(data, journal=journal if apart else None)
    with pytest.raises(UntrustedDataError, match="the journal of "):
        HeartRate(data, read_only=True)
    assert rows(data, journal=journal if apart else None, replace_journal=True) == FLUSHED
    assert rows(data, journal=journal if apart else None) == FLUSHED
    assert rows(data, read_only=True) == FLUSHED


def test_the_journal_of_other_data_is_refused_and_neither_is_changed(tmp_path: Path, data: Path, journal: Path) -> None:
    keep(data, journal)
    keep(tmp_path / "others", tmp_path / "others journal")
    before = list(everything(tmp_path))
    for wrong in (tmp_path / "others journal", tmp_path / "others"):
        with pytest.raises(
            UsageError,
            match=r"(belongs to other data|is no journal in .*), and that of .*data was last in .*/journal: name",
        ):
            HeartRate(data, journal=wrong)
    with pytest.raises(UsageError, match=r"belongs to the table .*data/table; choose another folder"):
        HeartRate(tmp_path / "third", journal=journal)
    with pytest.raises(UsageError, match="is the journal of the table"):
        HeartRate(journal)
    shutil.rmtree(tmp_path / "third")
    assert [name for name, _ in everything(tmp_path)] == [name for name, _ in before]
    assert list(everything(tmp_path)) == before


def test_a_journal_put_in_the_place_of_another_is_refused(tmp_path: Path, data: Path, journal: Path) -> None:
    keep(data, journal)
    keep(tmp_path / "others", tmp_path / "others journal")
    shutil.copy(tmp_path / "others journal" / "journal.sqlite", journal / "journal.sqlite")
    with pytest.raises(UsageError, match="belongs to other data"):
        HeartRate(data, journal=journal)
    with pytest.raises(UntrustedDataError, match="the journal of "):
        HeartRate(data, read_only=True)


def test_journal_and_data_may_both_be_moved_when_they_are_named_once(tmp_path: Path, data: Path, journal: Path) -> None:
    keep(data, journal)
    data.rename(tmp_path / "moved")
    journal.rename(tmp_path / "moved journal")
    with pytest.raises(UntrustedDataError, match="start the server once with the folder where it is now as"):
        HeartRate(tmp_path / "moved", read_only=True)
    assert rows(tmp_path / "moved", journal=tmp_path / "moved journal") == 50
    assert rows(tmp_path / "moved", read_only=True) == 50
    assert rows(tmp_path / "moved", journal=tmp_path / "moved journal") == 50


def test_a_journal_may_be_moved_out_of_its_data_and_back(data: Path, journal: Path) -> None:
    keep(data, None)
    journal.mkdir()
    (data / "journal.sqlite").rename(journal / "journal.sqlite")
    assert rows(data, journal=journal) == 50
    (journal / "journal.sqlite").rename(data / "journal.sqlite")
    assert rows(data) == 50
    assert rows(data, read_only=True) == 50


def test_a_copy_of_data_whose_journal_has_gone_on_is_refused(tmp_path: Path, data: Path, journal: Path) -> None:
    keep(data, journal)
    shutil.copytree(data, tmp_path / "copy")
    assert rows(tmp_path / "copy", read_only=True) == 50
    with pytest.raises(UsageError, match=r"belongs to the table .*data/table; choose another folder"):
        HeartRate(tmp_path / "copy", journal=journal)
    keep(data, journal, first=50)
    assert rows(data, read_only=True) == 100
    for kind, options in ((UntrustedDataError, {"read_only": True}), (UsageError, {"journal": journal})):
        with pytest.raises(kind, match=r"lacks readings that the journal in|belongs to the table"):
            rows(tmp_path / "copy", **options)


def test_a_copy_with_its_own_journal_counts_as_the_original_did(tmp_path: Path, data: Path) -> None:
    keep(data, None)
    shutil.copytree(data, tmp_path / "copy")
    keep(data, None, first=50)
    assert rows(tmp_path / "copy", read_only=True) == rows(tmp_path / "copy") == 50
    assert rows(data) == 100


def test_a_table_that_was_put_back_is_refused(tmp_path: Path, data: Path) -> None:
    keep(data, None)
    shutil.copytree(data / "table", tmp_path / "old")
    keep(data, None, first=50)
    shutil.rmtree(data / "table")
    (tmp_path / "old").rename(data / "table")
    for read_only in (True, False):
        with pytest.raises(UntrustedDataError, match=r"lacks readings|ends at version"):
            rows(data, read_only=read_only)


def test_a_journal_is_not_used_with_a_new_table_and_none_is_made(tmp_path: Path, data: Path, journal: Path) -> None:
    keep(data, journal)
    shutil.rmtree(data)
    (tmp_path / "moved").mkdir()
    (journal / "journal.sqlite").rename(tmp_path / "moved" / "journal.sqlite")
    with pytest.raises(UntrustedDataError, match=r"the table .*/data/table is not there, but had version 1: "):
        HeartRate(data, journal=tmp_path / "moved")
    assert not (data / "table").exists()


def test_a_folder_is_the_same_however_it_is_written(data: Path) -> None:
    keep(data, data / ".." / "data")
    assert rows(data) == 50


def test_a_table_under_a_url_names_its_journal_too(tmp_path: Path, journal: Path) -> None:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket/table"
    keep(url, journal)
    with pytest.raises(UsageError, match=rf"that of {url} was last in {journal}: name that folder as the journal"):
        HeartRate(url, journal=tmp_path / "other")
    journal.rename(tmp_path / "moved")
    assert rows(url, journal=tmp_path / "moved") == 50
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(UsageError, match=rf"was last in {tmp_path}/moved: name that folder"):
        HeartRate(url, journal=tmp_path / "moved")
    assert rows(url, journal=tmp_path / "moved", replace_journal=True) == 50  # close() had flushed the rest


def test_what_an_older_version_left_is_taken_up_and_marked(data: Path) -> None:
    shutil.copytree(FIRST_FORMAT, data)
    assert "journal" not in json.loads((data / "heartrate.json").read_text())
    assert rows(data, read_only=True) == rows(data) == 8
    assert json.loads((data / "heartrate.json").read_text())["journal"]
    assert rows(data, read_only=True) == rows(data) == 8


def test_what_an_older_version_left_without_its_journal_is_refused(tmp_path: Path, data: Path) -> None:
    shutil.copytree(FIRST_FORMAT, data)
    (data / "journal.sqlite").rename(tmp_path / "journal.sqlite")
    with pytest.raises(
        UsageError, match=r"there is no journal in .*, and that of .* is elsewhere: name its folder as the journal"
    ):
        HeartRate(data)
    with pytest.raises(UntrustedDataError, match="the journal of "):
        HeartRate(data, read_only=True)
    HeartRate(tmp_path / "others").close()
    shutil.copy(tmp_path / "others" / "journal.sqlite", data / "journal.sqlite")
    for read_only in (True, False):
        with pytest.raises(MockExportError, match=r"to other data, and that of .* is elsewhere: name its folder"):
            rows(data, read_only=read_only)


def test_a_journal_beside_the_one_that_is_named_is_not_passed_over(data: Path, journal: Path) -> None:
    shutil.copytree(FIRST_FORMAT, data)
    HeartRate(journal.with_name("others"), journal=journal).close()
    with pytest.raises(UsageError, match=rf"{data} has a journal with readings as well as {journal}"):
        HeartRate(data, journal=journal)
    assert rows(data) == 8


@pytest.mark.parametrize("left", [b"", None])
def test_a_first_start_that_was_stopped_midway_is_gone_on_with(data: Path, left: bytes | None) -> None:
    data.mkdir()
    (data / "heartrate.json").write_text('{"format":1,"table":"table"}')
    if left is not None:
        (data / "journal.sqlite").write_bytes(left)
    keep(data, None)
    assert rows(data) == 50


def test_ids_of_a_new_journal_are_above_those_of_the_table_though_the_clock_went_back(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HeartRate(data, flush_seconds=3600) as service:
        service.accept(batch(("u", "d", TEN, 60.0))).result(60)
    (data / "journal.sqlite").unlink()
    monkeypatch.setattr("time.time_ns", lambda: 10**15)
    with HeartRate(data, flush_seconds=3600, replace_journal=True) as service:
        service.accept(batch(("u", "d", TEN, 90.0))).result(60)
        assert [point.heart_rate for point in service.query("u", TEN, TEN)] == [90.0]
        service.flush()
        assert [point.heart_rate for point in service.query("u", TEN, TEN)] == [90.0]


def test_a_journal_is_not_replaced_while_it_has_readings_that_the_table_lacks(data: Path, journal: Path) -> None:
    keep(data, None)
    before = list(everything(data))
    for other in (journal, "postgresql://127.0.0.1:1/db"):
        with pytest.raises(UsageError, match=rf"the journal in {data} has readings .* not in the table yet"):
            HeartRate(data, journal=other, replace_journal=True)
        assert list(everything(data)) == before
    assert rows(data) == 50
    assert rows(data, journal=journal, replace_journal=True) == 50
    keep(data, journal, first=50)
    (journal / "journal.sqlite").rename(journal / "not-needed")
    assert rows(data, replace_journal=True) == 50 + FLUSHED
