"""Exports in a bucket of moto's server: read, listed, fetched and written by the rules of a folder."""

from __future__ import annotations

import io
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]
import orjson
import polars as pl
import pytest
from tests.cli.conftest import COMMAND, environment
from tests.cluster.machines import Cluster
from tests.files import PACK
from tests.moto import moto_server
from tests.sources import ROW, csv_body

from mockexport import count, fetch, open_place, open_source
from mockexport.errors import UntrustedDataError, UsageError
from mockexport.pipeline import cluster_workers
from mockexport.pipeline.executors import process_workers
from mockexport.place import read_whole, remove_file, write_whole
from mockexport.sources import FolderSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mockexport.source import Source

PATIENT = b'{"resourceType":"Patient","id":"1"}\n'
OBSERVATION = (
    b'{"resourceType":"Observation","id":"2","status":"final","code":{"text":"a"},'
    b'"subject":{"reference":"Patient/1"}}\n'
)
FILES = {
    "plain/a b%20#\u00fc.csv": csv_body(3),
    "plain/readme.md": b"no data",
    "packed/a.csv.gz": PACK[".csv.gz"](csv_body(4)),
    "packed/b.csv.zst": PACK[".csv.zst"](csv_body(5)),
    "fhir/1.Patient.ndjson": PATIENT,
    "fhir/1.Observation.ndjson": OBSERVATION * 2,
    "group/one/a.csv": csv_body(6),
    "marked/": b"",
    "marked/a.csv": csv_body(2),
    "other.bin": b"",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def bucket(server: str) -> Iterator[Any]:
    resource = boto3.resource("s3", endpoint_url=server)
    bucket = resource.create_bucket(Bucket="exports")
    for name, data in FILES.items():
        bucket.put_object(Key=f"here/{name}", Body=data)
    yield bucket
    bucket.objects.all().delete()


@pytest.fixture
def source(server: str, bucket: Any) -> Source:
    assert bucket
    return open_source("s3://exports/here", endpoint=server)


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "NO_PROXY": "127.0.0.1"}


def run(server: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [COMMAND, *arguments, "--endpoint", server]
    return subprocess.run(
        command, env=environment(**CREDENTIALS), capture_output=True, check=False, stdin=subprocess.DEVNULL
    )


def test_a_bucket_has_the_exports_downloads_and_counts_that_a_folder_with_the_same_files_has(
    source: Source, tmp_path: Path
) -> None:
    for name, data in FILES.items():
        if not name.endswith("/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    folder = FolderSource(tmp_path)
    assert source.exports() == folder.exports() == ["fhir", "group/one", "marked", "packed", "plain"]
    for export in source.exports():
        assert [d.id for d in source.downloads(export)] == [d.id for d in folder.downloads(export)]
        assert count(source, export) == count(folder, export)
    assert count(source, "packed").rows == 9


def test_parquet_in_a_bucket_is_counted(source: Source, bucket: Any) -> None:
    file = io.BytesIO()
    row = {"patient_id": "P001", "event_time": "2025-08-26T00:00:04Z", "event_type": "x", "value": 1}
    pl.DataFrame([row] * 5).write_parquet(file)
    bucket.put_object(Key="here/columns/a.parquet", Body=file.getvalue())
    assert count(source, "columns").rows == 5


def test_a_prefix_that_has_files_itself_is_an_export(server: str, bucket: Any) -> None:
    assert bucket
    assert count(open_source("s3://exports/here/plain/", endpoint=server), "plain").rows == 3


def test_what_would_not_be_counted_is_an_error_in_a_bucket_too(source: Source, bucket: Any) -> None:
    bucket.put_object(Key="here/plain/table.xlsx", Body=b"")
    with pytest.raises(UntrustedDataError, match=r"s3://exports/here/plain/table\.xlsx would not be counted"):
        source.downloads("plain")


def test_an_object_that_comes_later_is_listed_by_the_next_listing(source: Source, bucket: Any) -> None:
    assert len(list(source.downloads("plain"))) == 1
    bucket.put_object(Key="here/plain/z.csv", Body=csv_body(1))
    assert len(list(source.downloads("plain"))) == 2


@pytest.mark.gate
def test_processes_open_the_store_anew_and_count_its_splits(
    source: Source, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.sources.data_files.STORE_SPLIT_BYTES", 1 << 18)
    bucket.put_object(Key="here/plain/large.csv", Body=csv_body(30_000))
    assert count(source, "plain", start_workers=partial(process_workers, jobs=2)).rows == 30_003


@pytest.mark.gate
def test_workers_of_a_cluster_open_the_store_anew(source: Source, bucket: Any, tmp_path: Path) -> None:
    assert bucket
    with Cluster(tmp_path, settings=CREDENTIALS) as cluster:
        cluster.with_workers(1)
        workers = partial(cluster_workers, scheduler=cluster.address)
        assert count(source, "packed", start_workers=workers).rows == 9


@pytest.mark.gate
def test_splits_of_one_object_are_read_by_the_workers_of_a_cluster(
    source: Source, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client cuts, and each worker looks for credentials itself."""
    monkeypatch.setattr("mockexport.sources.data_files.STORE_SPLIT_BYTES", 1 << 18)
    body = csv_body(15_000) + csv_body(15_000, ROW.replace(b"P001", b"P002")).partition(b"\n")[2]
    bucket.put_object(Key="here/group/one/large.csv", Body=body)
    with Cluster(tmp_path, settings=CREDENTIALS) as cluster:
        cluster.with_workers(2)
        workers = partial(cluster_workers, scheduler=cluster.address)
        counts = count(source, "group/one", start_workers=workers)
    assert counts.patients == {"P001": {"bp_sys": 15_006}, "P002": {"bp_sys": 15_000}}


@pytest.mark.gate
def test_what_is_fetched_into_a_bucket_counts_as_its_source_and_is_kept_by_the_next_fetch(
    server: str, bucket: Any
) -> None:
    target = open_place("s3://exports/fetched", endpoint=server)
    fetched = fetch(open_source("mock"), "demo", target)
    source = open_source("s3://exports/fetched", endpoint=server)
    assert count(source, "demo") == count(open_source("mock"), "demo")
    made = {entry.key: entry.last_modified for entry in bucket.objects.filter(Prefix="fetched/demo/f")}
    assert fetch(open_source("mock"), "demo", open_place("s3://exports/fetched", endpoint=server)) == fetched
    assert {entry.key: entry.last_modified for entry in bucket.objects.filter(Prefix="fetched/demo/f")} == made


@pytest.mark.gate
def test_an_object_that_is_not_what_was_fetched_is_found_by_its_sha256(server: str, bucket: Any) -> None:
    fetched = fetch(open_source("mock"), "demo", open_place("s3://exports/fetched", endpoint=server))
    bucket.put_object(Key=f"fetched/demo/{fetched[0].file}", Body=csv_body(fetched[0].rows))
    with pytest.raises(UntrustedDataError, match="SHA-256"):
        count(open_source("s3://exports/fetched", endpoint=server), "demo")


def test_an_export_is_not_fetched_onto_itself(server: str, source: Source) -> None:
    with pytest.raises(UsageError, match="fetch into another folder"):
        fetch(source, "marked", open_place("s3://exports/here", endpoint=server))


@pytest.mark.gate
def test_the_output_is_written_to_an_object(server: str, bucket: Any) -> None:
    done = run(server, "count", "demo", "-q", "-o", "s3://exports/out/counts.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    written = orjson.loads(bucket.Object("out/counts.json").get()["Body"].read())
    assert sum(written["totals"].values()) == 18_784


def test_what_a_place_writes_and_removes_it_sees_at_once(server: str, bucket: Any) -> None:
    assert bucket
    file = open_place("s3://exports/written", endpoint=server) / "a"
    assert not file.is_file()
    for data in (b"1", b"22"):
        write_whole(file, data)
        assert read_whole(file) == data
    for _ in range(2):  # one that is not there is no error
        remove_file(file)
        assert not file.is_file()


@pytest.mark.gate
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["count", "-s", "s3://nowhere/a"], 3, "the store has no s3://nowhere/a; check the name; --endpoint URL names"),
        (["count", "-s", "s3://exports/none"], 3, "there is nothing below s3://exports/none/; check the name"),
        (["count", "none", "-s", "s3://exports/here"], 3, "no export 'none' in s3://exports/here; it has fhir"),
        (["count", "-s", "s3:///a"], 2, "s3:///a is not the URL of something in a store; a store is s3://BUCKET"),
        (["count", "-s", "s3://exports/a/../b"], 2, "s3://exports/a/../b is not the URL of something in a store"),
        (["count", "-s", "az://box/a"], 4, "no credentials for az://box were found: set AZURE_STORAGE_ACCOUNT_NAME"),
        (["count", "-o", "s3://exports"], 2, "s3://exports is a bucket; name an object in it"),
        (["count", "-o", "s3://nowhere/a"], 3, "the store has no s3://nowhere/a"),
    ],
)
def test_what_is_wrong_with_a_url_is_one_line_and_its_exit_code(
    server: str, bucket: Any, arguments: list[str], code: int, told: str
) -> None:
    assert bucket
    done = run(server, *arguments)
    line = done.stderr.decode()
    assert done.returncode == code, line
    assert told in line
    assert line.count("\n") == 1 + ("generated data" in line)


@pytest.mark.gate
def test_nobody_at_the_endpoint_is_exit_code_5() -> None:
    done = run("http://127.0.0.1:9", "exports", "list", "-s", "s3://exports", "--retries", "0")
    assert done.returncode == 5
    assert b"s3://exports: the store cannot be reached, or the connection was lost; try again later\n" in done.stderr
