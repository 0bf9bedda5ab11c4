"""The links of smart-fetch: a folder's files are links into its own subfolders, and no file is counted twice."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.fhir.folders import (
    LINKS,
    RUNS,
    observations,
    patients,
    smart_fetch,
)
from tests.fhir.test_fhir_folder import read_all

from mockexport import NotFoundError, UnreachableError, UntrustedDataError, UsageError, fetch
from mockexport.sources import FolderSource

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def managed(tmp_path: Path) -> Path:
    """What smart-fetch keeps after three runs."""
    folder = tmp_path / "managed"
    smart_fetch(folder)
    return folder


def body_of(link: str) -> bytes:
    run, _, name = LINKS[link].partition("/")
    return RUNS[run][name]


def test_the_links_at_the_top_are_one_export_and_the_runs_are_none(managed: Path) -> None:
    source = FolderSource(managed)
    assert source.exports() == ["managed"]
    assert read_all(source, "managed") == {name: body_of(name) for name in sorted(LINKS)}
    for run in RUNS:
        with pytest.raises(
            NotFoundError, match=rf"'{run}' is a part of export 'managed'.* take .*/{run} as the source"
        ):
            source.downloads(run)


def test_it_is_the_same_export_in_a_folder_of_exports(managed: Path) -> None:
    source = FolderSource(managed.parent)
    assert source.exports() == ["managed"]
    assert read_all(source, "managed") == read_all(FolderSource(managed), "managed")


@pytest.mark.parametrize("run", RUNS)
def test_one_run_is_counted_by_its_folder(managed: Path, run: str) -> None:
    source = FolderSource(managed / run)
    assert source.exports() == [run]
    assert read_all(source, run) == RUNS[run]


@pytest.mark.parametrize("absolute", [True, False])
def test_links_are_followed_wherever_the_folder_is_reached_from(tmp_path: Path, managed: Path, absolute: bool) -> None:
    if absolute:
        for name in LINKS:
            link = managed / f"{name}.ndjson.gz"
            target = link.resolve()
            link.unlink()
            link.symlink_to(target)
    (tmp_path / "elsewhere").symlink_to(managed)
    for root in (managed, tmp_path / "elsewhere"):
        assert FolderSource(root).exports() == [root.name]
        assert read_all(FolderSource(root), root.name) == {name: body_of(name) for name in sorted(LINKS)}


def test_a_folder_without_links_into_it_is_an_export_of_its_own_beside(managed: Path) -> None:
    (managed / "other").mkdir()
    (managed / "other" / "Patient.ndjson").write_bytes(patients("9"))
    source = FolderSource(managed)
    assert source.exports() == ["managed", "other"]
    with pytest.raises(UntrustedDataError, match="other is a folder within an export, and would not be counted"):
        source.downloads("managed")


def test_links_that_are_ignored_make_no_runs(managed: Path) -> None:
    source = FolderSource(managed, ignore=["Patient.*", "Observation.00?.*"])
    assert source.exports() == []
    (managed / "001.2025-06-26" / "other.ndjson").write_bytes(patients("1"))
    assert source.exports() == ["001.2025-06-26"]


def test_a_broken_link_is_an_error_that_names_it(managed: Path) -> None:
    shutil.rmtree(managed / "002.2025-06-27")
    with pytest.raises(UnreachableError, match=r"Observation\.001\.ndjson\.gz: it is a link to 002\.2025-06-27/Observ"):
        FolderSource(managed).downloads("managed")


def test_a_circle_of_links_is_an_error_that_names_it(managed: Path) -> None:
    (managed / "a.ndjson").symlink_to("b.ndjson")
    (managed / "b.ndjson").symlink_to("a.ndjson")
    with pytest.raises(UnreachableError, match=r"cannot read .*a\.ndjson: it is a link to b\.ndjson"):
        FolderSource(managed).downloads("managed")


def test_a_link_out_of_the_folder_is_followed(tmp_path: Path, export: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "x.ndjson").write_bytes(patients("1"))
    (export / "sub").mkdir()
    (export / "a.ndjson").symlink_to(tmp_path / "store" / "x.ndjson")
    (export / "sub" / "b.ndjson").write_bytes(patients("2"))
    source = FolderSource(export)
    assert source.exports() == ["sub", "trial"]
    assert read_all(FolderSource(export, ignore=["sub"]), "trial") == {"a": patients("1")}


def test_a_link_has_the_etag_of_the_file_that_it_leads_to(managed: Path) -> None:
    top = {d.id: d.etag for d in FolderSource(managed).downloads("managed")}
    run = {d.id: d.etag for d in FolderSource(managed / "002.2025-06-27").downloads("002.2025-06-27")}
    assert run.items() <= top.items()
    target = managed / "002.2025-06-27" / "Observation.002.ndjson.gz"
    target.write_bytes(gzip.compress(observations("3")))
    link = managed / "Patient.001.ndjson.gz"
    link.unlink()
    link.symlink_to("001.2025-06-26/Patient.001.ndjson.gz")
    again = {d.id: d.etag for d in FolderSource(managed).downloads("managed")}
    assert {name for name in top if top[name] != again[name]} == {"Observation.002", "Patient.001"}


def test_nothing_is_fetched_into_the_folder_that_links_lead_to(tmp_path: Path, managed: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "003.again").symlink_to(managed)
    source = FolderSource(tmp_path / "exports")
    with pytest.raises(UsageError, match="is the folder that would be fetched"):
        fetch(source, "003.again", managed)
    with pytest.raises(UsageError, match="is the folder that would be fetched"):
        fetch(FolderSource(managed), "managed", tmp_path)
