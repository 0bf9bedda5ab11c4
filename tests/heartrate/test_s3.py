"""The same service with its table on an S3-compatible server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3  # type: ignore[import-untyped]
import pytest
from deltalake import DeltaTable
from tests.heartrate.synthetic import MINUTE, TEN, batch
from tests.moto import moto_server, variables_for

from mockexport.errors import UnreachableError
from mockexport.heartrate.readings import Point
from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "s3://readings/tables/heart"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in variables_for(server).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="readings")
    for entry in client.list_objects_v2(Bucket="readings").get("Contents", ()):
        client.delete_object(Bucket="readings", Key=entry["Key"])
    return server


@pytest.mark.gate
def test_a_table_under_a_url_is_written_queried_compacted_and_found_again(s3: str, tmp_path: Path) -> None:
    expected = [Point(TEN + number * MINUTE, 60.0 + number, "device_a") for number in range(4)]
    with HeartRate(URL, journal=tmp_path / "journal", flush_seconds=3600) as service:
        for number in range(4):
            service.accept(batch(("u", "device_a", TEN + number * MINUTE, 60.0 + number))).result(60)
            if number < 3:
                service.flush()
        assert service.query("u", TEN, TEN + 4 * MINUTE) == expected
        service.compact()
        service.tidy()
        assert service.query("u", TEN, TEN + 4 * MINUTE) == expected
        assert [day.rows for day in service.days()] == [4]
        assert service.statistics().files == 1
    with HeartRate(URL, journal=tmp_path / "journal") as service:
        assert service.query("u", TEN, TEN + 4 * MINUTE) == expected
    keys = boto3.client("s3", endpoint_url=s3).list_objects_v2(Bucket="readings", Prefix="tables/heart/date=")
    sizes = {entry["Key"].removeprefix("tables/heart/"): entry["Size"] for entry in keys["Contents"]}
    table = DeltaTable(URL).get_add_actions(flatten=True)
    told = dict(zip(table["path"].to_pylist(), table["size_bytes"].to_pylist(), strict=True))
    assert {path: sizes[path] for path in told} == told


@pytest.mark.usefixtures("s3")
def test_what_a_store_refuses_is_told_in_one_line_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        HeartRate("s3://nowhere/table", journal=tmp_path / "journal")
    told = "Kernel error -> Generic S3 error: 404 Not Found: The specified bucket does not exist"
    assert str(caught.value) == f"cannot open the table s3://nowhere/table: {told}"


@pytest.mark.gate
def test_a_store_that_is_not_there_is_told_with_the_cause(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_RETRIES", "0")
    with pytest.raises(UnreachableError, match=r"^cannot open the table .*: Connection refused.*$"):
        HeartRate(URL, journal=tmp_path / "journal")


@pytest.mark.gate
def test_two_services_with_journals_of_their_own_write_one_table_and_the_last_reading_in_stands(
    s3: str, tmp_path: Path
) -> None:
    assert s3
    with (
        HeartRate(URL, journal=tmp_path / "one", flush_seconds=3600) as one,
        HeartRate(URL, journal=tmp_path / "two", replace_journal=True, flush_seconds=3600) as two,
    ):
        for number, service in enumerate([one, two, one, two]):
            service.accept(
                batch(("u", "device_a", TEN, 60.0 + number), ("u", "device_a", TEN + 1 + number, 60.0))
            ).result(60)
            service.flush()
        one._store.refresh()
        assert [day.rows for day in one.days()] == [5]
        assert one.query("u", TEN, TEN) == [Point(TEN, 63.0, "device_a")]
