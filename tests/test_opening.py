"""From what a user calls a source to the Source."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from tests.sources import csv_body

from mockexport import NotFoundError, UsageError, open_source
from mockexport.sources.folder import FolderSource
from mockexport.sources.http import HttpSource
from mockexport.sources.mock import MockFhirSource, MockSource, ReferenceGenerator


def test_mock_is_the_made_up_exports_and_the_default() -> None:
    assert isinstance(open_source(), MockSource)
    assert isinstance(open_source("mock"), MockSource)


def test_mock_fhir_is_the_made_up_exports_as_resources() -> None:
    source = open_source("mock-fhir", kernel="pure")
    assert isinstance(source, MockFhirSource)
    assert source.name == "mock-fhir"
    assert {download.format for download in source.downloads("demo")} == {"ndjson"}


def test_the_kernel_is_the_twin_that_makes_exports_up() -> None:
    source = open_source("mock", kernel="pure")
    assert isinstance(source, MockSource)
    assert source._generator is ReferenceGenerator
    with pytest.raises(UsageError, match="fast"):
        open_source("mock", kernel="fast")


@pytest.mark.parametrize("as_path", [False, True])
def test_a_folder_is_a_directory_source(tmp_path: Path, as_path: bool) -> None:
    source = open_source(tmp_path if as_path else str(tmp_path))
    assert isinstance(source, FolderSource)
    assert source.name == str(tmp_path)


@pytest.mark.parametrize("name", ["mock", "mock-fhir"])
def test_a_folder_that_is_called_mock_is_reached_by_its_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name / "trial"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_bytes(csv_body(1))
    monkeypatch.chdir(tmp_path)
    assert open_source(name).exports() == ["demo", "small", "large"]
    assert open_source(f"./{name}").exports() == ["trial"]
    assert open_source(Path(name).absolute()).exports() == ["trial"]


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file or folder"):
        open_source(tmp_path / "nowhere")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://host/base/", "HTTP://host"])
def test_an_http_url_is_a_server_and_opening_it_reaches_for_nothing(url: str) -> None:
    with closing(open_source(url, timeout=1.0, retries=0)) as source:
        assert isinstance(source, HttpSource)
        assert source.name == url.rstrip("/")


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///tmp", "swift://bucket", "://x", "htp://host"])
def test_another_kind_of_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="neither http nor https"):
        open_source(url)
