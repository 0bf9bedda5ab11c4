"""FolderSource over plain folders: what is an export there, what a download, and what can't be read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NoReturn

import pytest
from tests.bodies import PLAIN
from tests.files import PACK, read, source_of

from mockexport import Download, MockExportError, NotFoundError, UnreachableError, UntrustedDataError, count
from mockexport.sources import FilesSource, FolderSource

# ---- What is an export, and what a download ----


def test_exports_are_the_folders_with_csv_files_and_downloads_these_files_by_name(tmp_path: Path) -> None:
    for name in ("b/z.csv", "b/a.csv.gz", "b/m.csv.zst", "a/x.y.csv", "a/UP.TSV.Gz", "empty/notes.md", "b/README.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PLAIN)
    (tmp_path / "loose.md").touch()
    source = FolderSource(tmp_path)
    assert source.exports() == ["a", "b"]
    assert [download.id for download in source.downloads("b")] == ["a", "m", "z"]
    assert [download.id for download in source.downloads("a")] == ["UP", "x.y"]


def test_a_folder_without_files_of_its_own_has_the_exports_in_its_folders(tmp_path: Path) -> None:
    for name in (
        "group/1/a.csv",
        "group/2/b.csv",
        "group/.hidden/a.csv",
        "group/empty/.a",
        "system/c.csv",
        "x/y/z/a.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PLAIN)
    source = FolderSource(tmp_path)
    assert source.exports() == ["group/1", "group/2", "system"]
    assert [(d.export, d.id) for d in source.downloads("group/2")] == [("group/2", "b")]
    assert count(source, "group/1") == count(source, "system")


@pytest.mark.parametrize("file", ["group/a.csv", "group/notes.md", "group/data.xlsx"])
def test_one_with_files_of_its_own_has_none_but_itself(tmp_path: Path, file: str) -> None:
    (tmp_path / "group" / "1").mkdir(parents=True)
    (tmp_path / "group" / "1" / "a.csv").write_bytes(PLAIN)
    (tmp_path / file).write_bytes(PLAIN)
    source = FolderSource(tmp_path)
    assert source.exports() == (["group"] if file.endswith(".csv") else [])
    with pytest.raises(NotFoundError):
        source.downloads("group/1")


@pytest.mark.parametrize(
    "name", ["group/../secret", "../root/group/1", "/group/1", "group//1", "group/1/", "group/./1"]
)
def test_no_id_of_an_export_in_such_a_folder_leads_elsewhere(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    for folder in (root / "group" / "1", tmp_path / "secret", root / "secret"):
        folder.mkdir(parents=True)
        (folder / "a.csv").write_bytes(PLAIN)
    with pytest.raises(NotFoundError):
        FolderSource(root).downloads(name)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in (".hidden/a.csv", "only/.a.csv", "trial/.a.csv", "trial/._b.csv.gz", "trial/b.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PLAIN)
    source = FolderSource(tmp_path)
    assert source.exports() == ["trial"]
    assert [download.id for download in source.downloads("trial")] == ["b"]


def test_without_a_manifest_nothing_is_declared_but_the_size_of_a_plain_file(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "b.csv.gz").write_bytes(gzip.compress(PLAIN))
    plain, packed = source_of(export).downloads("trial")
    assert plain == Download("trial", "a", size=len(PLAIN), etag=plain.etag, split_size=plain.split_size)
    assert packed == Download("trial", "b", etag=packed.etag)


def test_an_etag_names_one_version_of_the_bytes_whatever_the_size_and_the_time(export: Path) -> None:
    file = export / "a.csv"
    etags = []
    for body, modified in ((PLAIN, 1), (PLAIN[::-1], 1), (PLAIN, 1), (PLAIN + PLAIN, 1), (PLAIN, 2)):
        file.write_bytes(body)
        os.utime(file, (modified, modified))
        listed = [source_of(export).downloads("trial")[0].etag for _ in range(2)]
        assert listed[0] == listed[1]
        etags.append(listed[0])
    assert len(set(etags)) == 5
    assert None not in etags


def test_the_same_download_in_two_files_is_refused(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "a.csv.gz").write_bytes(gzip.compress(PLAIN))
    for ask in (lambda: source_of(export).downloads("trial"), lambda: read(export)):
        with pytest.raises(UntrustedDataError, match=r"a\.csv\.gz and a\.csv hold the same download"):
            ask()


def test_a_uuid_in_two_files_in_different_case_is_one_download_and_refused(export: Path) -> None:
    uuid = "f725622a-22ea-4acc-aab8-810ec8b5e2c6"
    for name in (uuid, uuid.upper()):
        (export / f"{name}.csv").write_bytes(PLAIN)
    if len(list(export.iterdir())) == 1:
        pytest.skip("this file system takes them for one file")
    with pytest.raises(UntrustedDataError, match="hold the same download; move one away"):
        source_of(export).downloads("trial")


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nowhere", "file", "file/deeper", "a" * 300):
        with pytest.raises(MockExportError, match=r"folder|cannot read"):
            FolderSource(tmp_path / name)


def test_a_folder_that_holds_csv_files_itself_is_an_export_of_its_own_name(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    source = FolderSource(export)
    assert source.exports() == ["trial"]
    assert count(source, "trial") == count(source_of(export), "trial")
    with pytest.raises(NotFoundError, match=r"no export 'demo' in .*; it has trial"):
        source.downloads("demo")


def test_an_unknown_export_or_download_has_a_suggestion(export: Path) -> None:
    (export / "first.csv").write_bytes(PLAIN)
    with pytest.raises(NotFoundError, match=r"no export 'trail' .*did you mean 'trial'\?"):
        source_of(export).downloads("trail")
    with pytest.raises(NotFoundError, match=r"no download 'frist' .*did you mean 'first'\?"):
        read(export, download="frist")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../inner/trial", "trial/", "./trial", "trial/../trial", "\x00", "a" * 300]
)
def test_no_id_of_an_export_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path / "inner", tmp_path / "inner" / "trial"):
        folder.mkdir(exist_ok=True)
        (folder / "a.csv").write_bytes(PLAIN)
    source = FolderSource(tmp_path / "inner")
    for export in (name, str(tmp_path)):
        with pytest.raises(NotFoundError, match="no export"):
            source.downloads(export)
        with pytest.raises(NotFoundError, match="no export"):
            source.open(Download(export, "a"))


@pytest.mark.parametrize("name", ["", "..", "../a", "a.csv", "./a", "\x00"])
def test_no_id_of_a_download_leads_out_of_its_export(export: Path, name: str) -> None:
    for folder in (export, export.parent):
        (folder / "a.csv").write_bytes(PLAIN)
    for download in (name, str(export.parent / "a")):
        with pytest.raises(NotFoundError, match="no download"):
            source_of(export).open(Download("trial", download))


# ---- What can't be read ----


def test_a_folder_within_an_export_is_an_error_whatever_it_is_called(export: Path) -> None:
    (export / "b.csv").write_bytes(PLAIN)
    (export / "a.csv").mkdir()
    with pytest.raises(UntrustedDataError, match=r"a\.csv is a folder within an export, and would not be counted"):
        count(source_of(export), "trial")


def test_a_link_that_leads_nowhere_is_an_error_and_no_smaller_count(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "b.csv").symlink_to("gone.csv")
    for ask in (lambda: source_of(export), lambda: FilesSource(export / "*.csv")):
        with pytest.raises(
            UnreachableError, match=r"cannot read .*b\.csv: it is a link to gone\.csv, which is not there"
        ):
            count(ask(), "trial")


def test_a_file_that_goes_away_is_an_error_whenever_that_is(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "b.csv").write_bytes(PLAIN)
    source = source_of(export)
    download, _ = source.downloads("trial")
    chunks = source.open(download)
    (export / "a.csv").unlink()
    with pytest.raises(UnreachableError, match=r"cannot read .*a\.csv: No such file or directory"):
        next(chunks)
    with pytest.raises(NotFoundError, match="no download 'a'"):
        source.open(download)
    (export / "b.csv").unlink()
    with pytest.raises(NotFoundError, match="no export 'trial'"):
        source.open(download)


def test_a_folder_that_goes_away_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    source = FolderSource(root)
    root.rmdir()
    with pytest.raises(UnreachableError, match=r"cannot read .*root: No such file or directory"):
        source.exports()


@pytest.mark.parametrize("suffix", PACK)
def test_whoever_stops_reading_leaves_no_file_open(export: Path, suffix: str) -> None:
    (export / f"a{suffix}").write_bytes(PACK[suffix](PLAIN))
    chunks = source_of(export).open(Download("trial", "a"))
    assert next(chunks)
    chunks.close()  # a file left open would be a ResourceWarning, and that an error


def test_a_download_is_opened_without_a_look_at_all_the_others(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of thousands would be listed thousands of times."""
    (export / "a.csv").write_bytes(PLAIN)
    source = source_of(export)
    (download,) = source.downloads("trial")

    def listed(_folder: Path) -> NoReturn:
        pytest.fail("the folder was listed")

    monkeypatch.setattr(Path, "iterdir", listed)
    assert b"".join(source.open(download)) == PLAIN
