"""Each kind of store, spoken to as others' servers implement it: the same claims for S3, Azure and Google."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.sources import ROW, csv_body
from tests.stores.emulators import azurite, google_by_moto, s3rver

from mockexport import count, fetch, open_source
from mockexport.errors import ChangedError
from mockexport.http import Retries
from mockexport.stores import StorePath, StoreSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stores.emulators import Emulator

    from mockexport.source import Source

KINDS = ("s3", "az", "gs")
PART_ROWS = 600_000  # more than one part of an upload, of 16 MiB
MANY = 1_100  # more than one page of a listing, of 1,000 on S3


@contextmanager
def running(kind: str, cache: pytest.Cache, folder: Path, *, install: bool) -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("NO_PROXY", "127.0.0.1")
        servers = {"s3": s3rver, "az": azurite}
        started = servers[kind](cache, folder, install=install) if kind in servers else google_by_moto()
        with started as emulator:
            for name, value in emulator.credentials.items():
                patch.setenv(name, value)
            yield emulator


@pytest.fixture(scope="module", params=KINDS)
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    cache = request.config.cache
    with running(request.param, cache, tmp_path_factory.mktemp(request.param), install=True) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _credentials(_credentials: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the server, and not those that stand for all the others."""
    if "emulator" in request.fixturenames:
        for name, value in request.getfixturevalue("emulator").credentials.items():
            monkeypatch.setenv(name, value)


def place(emulator: Emulator, key: str = "") -> StorePath:
    return StorePath.of(f"{emulator.url}/{key}", StoreSettings(emulator.endpoint, retries=Retries(0)))


def source(emulator: Emulator, prefix: str) -> Source:
    return open_source(f"{emulator.url}/{prefix}", endpoint=emulator.endpoint, retries=0)


def run(emulator: Emulator, *arguments: str, **credentials: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, *arguments, "--endpoint", emulator.endpoint, "--retries", "0"]
    variables = environment(**emulator.credentials | credentials, NO_PROXY="127.0.0.1")
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["s3", "az"])  # what takes moto is in test_moto.py
def test_an_export_that_was_fetched_into_a_store_counts_as_its_source(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with running(kind, request.config.cache, tmp_path, install=False) as emulator:
        fetch(open_source("mock"), "demo", place(emulator, "fetched"))
        assert count(source(emulator, "fetched"), "demo") == count(open_source("mock"), "demo")


@pytest.mark.slow
def test_a_second_fetch_keeps_what_is_there_and_has_the_same_digests(emulator: Emulator) -> None:
    first = fetch(open_source("mock"), "demo", place(emulator, "twice"))
    assert fetch(open_source("mock"), "demo", place(emulator, "twice")) == first
    assert count(source(emulator, "twice"), "demo") == count(open_source("mock"), "demo")


@pytest.mark.slow
def test_an_object_of_many_parts_is_counted_in_splits(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mockexport.sources.data_files.STORE_SPLIT_BYTES", 1 << 22)
    place(emulator, "large/trial/a.csv").write(csv_body(PART_ROWS))
    assert count(source(emulator, "large"), "trial").rows == PART_ROWS


@pytest.mark.slow
def test_an_object_that_is_replaced_after_it_was_listed_is_an_error(emulator: Emulator) -> None:
    target = place(emulator, "replaced/trial/a.csv")
    target.write(csv_body(3))
    reader = source(emulator, "replaced")
    download = next(iter(reader.downloads("trial")))
    target.write(csv_body(4))
    with pytest.raises(ChangedError):
        next(reader.open(download))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a b", "a%20b", "a+b", "ü", "a#b", "a?b", "a'b", "a&b=c", "日本", "a~b", "a=b,c;d@e"])
def test_names_of_any_characters_are_written_listed_and_read(emulator: Emulator, name: str) -> None:
    (place(emulator, "odd") / name / f"{name}.csv").write(csv_body(3))
    reader = source(emulator, "odd")
    assert name in reader.exports()
    assert [download.id for download in reader.downloads(name)] == [name]
    assert count(reader, name).rows == 3


@pytest.mark.slow
def test_more_objects_than_a_page_of_a_listing_has_are_all_counted(emulator: Emulator) -> None:
    folder = place(emulator, "many") / "trial"
    for number in range(MANY):
        (folder / f"{number}.csv").write(csv_body(1))
    assert count(source(emulator, "many"), "trial").rows == MANY


@pytest.mark.slow
def test_an_object_is_removed_and_one_that_is_not_there_is_no_error(emulator: Emulator) -> None:
    file = place(emulator, "removed") / "a.csv"
    file.write(csv_body(3))
    assert file.is_file()
    for _ in range(2):
        file.remove()
        assert not file.is_file()


@pytest.mark.slow
def test_an_empty_object_is_no_csv_and_says_so(emulator: Emulator) -> None:
    place(emulator, "empty/trial/a.csv").write(b"")
    done = run(emulator, "count", "trial", "-s", f"{emulator.url}/empty")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_wrong_credentials_are_exit_code_4_and_no_bucket_is_3(emulator: Emulator) -> None:
    missing = run(emulator, "count", "-s", f"{emulator.url}-not/there")
    assert missing.returncode == 3, missing.stderr
    assert "--endpoint URL names another server" in missing.stderr
    wrong = {"AWS_ACCESS_KEY_ID": "wrong", "AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}
    if not emulator.credentials.keys() & wrong.keys():
        return  # moto takes any token
    refused = run(emulator, "count", "-s", f"{emulator.url}/there", **wrong)
    assert refused.returncode == 4, refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "wrong" not in refused.stderr


@pytest.mark.slow
def test_of_two_writers_at_once_one_is_there_whole_and_whoever_lost_is_told(emulator: Emulator) -> None:
    """Azure keeps the blocks of an object, not of a writer: the first to finish discards those of the others."""
    target = place(emulator, "both/trial/a.csv")
    bodies = [csv_body(PART_ROWS), csv_body(PART_ROWS, ROW.replace(b"P001", b"P002"))]
    writers = [target.new_file() for _ in bodies]
    for begin in range(0, len(bodies[0]), 1 << 22):
        for writer, body in zip(writers, bodies, strict=True):
            writer.write(body[begin : begin + (1 << 22)])
    writers[1].finish()
    if emulator.url.startswith("az:"):
        with pytest.raises(ChangedError, match="was written by another program at the same time"):
            writers[0].finish()
    else:
        writers[0].finish()
    whole = bodies[emulator.url.startswith("az:")]
    with place(emulator, "both/trial/a.csv").open_file(None) as file:
        assert file.read() == whole
