"""FolderSource over FHIR bulk exports, as their clients leave them on disk: which files are counted, and as what."""

from __future__ import annotations

import gzip
import logging
import pickle
from typing import TYPE_CHECKING

import pytest
from tests.fhir.folders import (
    EXPORTED,
    SERVER,
    bulk_data_client,
    listed,
    observations,
    patients,
    write_log,
    write_manifest,
)
from tests.files import source_of, zstd_frame

from mockexport import Download, UntrustedDataError, fetch
from mockexport.sources import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mockexport import Source


def downloads(folder: Path) -> list[Download]:
    return list(source_of(folder).downloads(folder.name))


def read_all(source: Source, export: str) -> dict[str, bytes]:
    return {download.id: b"".join(source.open(download)) for download in source.downloads(export)}


def rows_of(folder: Path) -> dict[str, int | None]:
    return {download.id: download.rows for download in downloads(folder)}


# ---- The manifest of a server ----


@pytest.mark.parametrize("numbered", [True, False])
def test_a_manifest_declares_types_rows_and_the_server_in_its_order(tmp_path: Path, numbered: bool) -> None:
    folder = tmp_path / "trial"
    names = bulk_data_client(folder, numbered=numbered)
    found = downloads(folder)
    assert [d.id for d in found] == [name.removesuffix(".ndjson") for name in names]
    assert [(d.event_types, d.rows) for d in found] == [((kind,), body.count(b"\n")) for kind, body in EXPORTED]
    assert {(d.format, d.base) for d in found} == {("ndjson", SERVER)}
    assert all(d.etag and d.size and d.split_size for d in found)
    assert read_all(source_of(folder), "trial") == {d.id: body for d, (_, body) in zip(found, EXPORTED, strict=True)}


def test_a_count_is_optional(export: Path) -> None:
    (export / "a.ndjson").write_bytes(patients("1"))
    write_manifest(export, [listed("Patient", "a.ndjson")])
    assert rows_of(export) == {"a": None}


PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd_frame}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("url_packed", PACK)
@pytest.mark.parametrize("name", ["Patient.000.ndjson", "1.Patient.ndjson"])
def test_a_file_is_its_entry_s_compressed_or_not(export: Path, name: str, packed: str, url_packed: str) -> None:
    (export / (name + packed)).write_bytes(PACK[packed](patients("1", "2")))
    write_manifest(export, [listed("Patient", f"Patient.000.ndjson{url_packed}?token=a/b", patients("1", "2"))])
    assert rows_of(export) == {name.removesuffix(".ndjson"): 2}
    assert list(read_all(source_of(export), "trial").values()) == [patients("1", "2")]


def test_a_file_without_a_suffix_is_data_if_the_manifest_lists_it(export: Path) -> None:
    (export / "12345").write_bytes(patients("1"))
    write_manifest(export, [listed("Patient", "12345", patients("1"))])
    assert [(d.id, d.format) for d in downloads(export)] == [("12345", "ndjson")]
    write_manifest(export, [])
    with pytest.raises(UntrustedDataError, match="12345 would not be counted"):
        downloads(export)


def test_numbers_are_the_manifest_s_order_even_if_the_urls_are_numbered_otherwise(export: Path) -> None:
    for number in (1, 2):
        (export / f"{number}.Patient.ndjson").write_bytes(patients(*"ab"[:number]))
    output = [listed("Patient", f"{number}.Patient.ndjson", patients(*"ab"[: number + 1])) for number in (0, 1)]
    write_manifest(export, output)
    assert rows_of(export) == {"1.Patient": 1, "2.Patient": 2}


def test_where_names_and_numbers_both_fit_it_is_the_names(export: Path) -> None:
    for number in (1, 2):
        (export / f"{number}.Patient.ndjson").write_bytes(patients(*"ab"[:number]))
    write_manifest(export, [listed("Patient", f"{n}.Patient.ndjson", patients(*"ab"[:n])) for n in (2, 1)])
    assert rows_of(export) == {"2.Patient": 2, "1.Patient": 1}


def test_urls_that_all_end_alike_are_told_by_number(export: Path) -> None:
    for number in (1, 2):
        (export / f"{number}.Patient.ndjson").write_bytes(patients(*"ab"[:number]))
    write_manifest(export, [{"type": "Patient", "url": f"{SERVER}/{number}/Patient.ndjson"} for number in (1, 2)])
    assert rows_of(export) == {"1.Patient": None, "2.Patient": None}


@pytest.mark.parametrize("numbered", [True, False])
def test_a_listed_file_that_is_absent_is_an_error(tmp_path: Path, numbered: bool) -> None:
    folder = tmp_path / "trial"
    names = bulk_data_client(folder, numbered=numbered)
    (folder / names[1]).unlink()
    with pytest.raises(UntrustedDataError, match=rf"manifest\.json lists {names[1]}, which is not there; download it"):
        downloads(folder)


@pytest.mark.parametrize("numbered", [True, False])
def test_a_file_that_is_not_listed_is_an_error_unless_it_is_ignored(tmp_path: Path, numbered: bool) -> None:
    folder = tmp_path / "trial"
    bulk_data_client(folder, numbered=numbered)
    (folder / "3.Observation.ndjson").write_bytes(observations("1"))
    with pytest.raises(UntrustedDataError, match=r"3\.Observation\.ndjson is not listed .*ignore=.NAME. leaves it out"):
        downloads(folder)
    assert len(FolderSource(tmp_path, ignore=["3.*"]).downloads("trial")) == 3


def test_two_entries_for_one_file_are_an_error(export: Path) -> None:
    (export / "a.ndjson").write_bytes(patients("1"))
    write_manifest(export, [listed("Patient", "a.ndjson"), listed("Observation", "a.ndjson?page=2")])
    with pytest.raises(UntrustedDataError, match=r"lists a\.ndjson 2 times; keep the entry that a\.ndjson is of"):
        downloads(export)


def test_two_files_for_one_entry_are_an_error(export: Path) -> None:
    for name in ("a.ndjson", "a.ndjson.gz"):
        (export / name).write_bytes(patients("1"))
    write_manifest(export, [listed("Patient", "a.ndjson")])
    with pytest.raises(UntrustedDataError, match=r"a\.ndjson\.gz and a\.ndjson hold the same download; move one away"):
        downloads(export)


def test_files_of_errors_and_deletions_are_not_counted_and_errors_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "trial"
    bulk_data_client(folder)
    errors = [listed("OperationOutcome", f"e{number}.ndjson") for number in range(2)]
    (folder / "e1.ndjson").write_bytes(b"{}\n")  # beside the others, as one who takes all URLs has it
    (folder / "d.ndjson").write_bytes(b"{}\n")
    output = [listed(kind, f"{place:04}.ndjson", body) for place, (kind, body) in enumerate(EXPORTED)]
    write_manifest(folder, output, error=errors, deleted=[listed("Bundle", "d.ndjson")])
    source = source_of(folder)
    for _ in range(2):
        assert len(source.downloads("trial")) == 3
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert "manifest.json lists 2 files of errors" in told.getMessage()


def test_a_manifest_that_makes_no_sense_is_an_error_that_names_it(export: Path) -> None:
    write_manifest(export, [{"url": "https://ehr.example/1.ndjson"}], outputOrganizedBy="Patient")
    with pytest.raises(
        UntrustedDataError, match=r"manifest\.json cannot be used .*organised by Patient is not supported"
    ):
        downloads(export)


def test_an_export_that_holds_nothing_has_no_downloads(export: Path) -> None:
    write_manifest(export, [])
    assert downloads(export) == []


def test_nothing_is_fetched_into_the_folder_of_a_bulk_export(tmp_path: Path) -> None:
    bulk_data_client(tmp_path / "trial")
    other = tmp_path / "other" / "trial"
    other.mkdir(parents=True)
    (other / "1.Patient.ndjson").write_bytes(patients("1"))
    before = sorted(path.name for path in (tmp_path / "trial").iterdir())
    with pytest.raises(UntrustedDataError, match="is not a manifest of export 'trial'"):
        fetch(source_of(other), "trial", tmp_path)
    assert set(before) == {path.name for path in (tmp_path / "trial").iterdir()} - {".fetch.lock"}


def test_the_folder_itself_is_an_export_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    bulk_data_client(folder)
    source = FolderSource(folder)
    assert source.exports() == ["trial"]
    assert source.downloads("trial") == downloads(folder)


def test_a_worker_lists_the_folder_once_for_all_its_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "trial"
    bulk_data_client(folder)
    found = downloads(folder)
    worker: FolderSource = pickle.loads(pickle.dumps(source_of(folder)))
    assert b"".join(worker.open(found[0])) == EXPORTED[0][1]
    monkeypatch.setattr(type(worker), "_list", None)
    assert [b"".join(worker.open(download)) for download in found] == [body for _, body in EXPORTED]


def test_a_manifest_that_is_being_written_is_read_again_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk_data_client(tmp_path / "trial")
    worker = source_of(tmp_path / "trial")
    (tmp_path / "trial" / "extra.ndjson").write_bytes(b"")
    monkeypatch.setattr("mockexport.sources.folder.file_versions", dict.fromkeys)
    for _ in range(2):
        with pytest.raises(UntrustedDataError, match=r"extra\.ndjson is not listed"):
            worker.open(Download("trial", "1.Patient"))
    (tmp_path / "trial" / "extra.ndjson").unlink()
    assert b"".join(worker.open(Download("trial", "1.Patient"))) == EXPORTED[0][1]
    write_manifest(tmp_path / "trial", [])
    with pytest.raises(UntrustedDataError, match=r"1\.Observation\.ndjson is not listed"):
        worker.open(Download("trial", "1.Patient"))


# ---- The log of bulk-data-client ----

FILES = [("a", patients("1", "2")), ("b", observations("1"))]


@pytest.fixture
def logged(export: Path) -> Path:
    """A folder with files, and no manifest."""
    for name, body in FILES:
        (export / f"{name}.ndjson").write_bytes(body)
    return export


def test_without_a_manifest_the_log_declares_rows(logged: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert rows_of(logged) == {"a": None, "b": None}
    write_log(logged, [("b.ndjson", 1), ("a.ndjson", 2), ("Binary/5", None)])
    assert rows_of(logged) == {"a": 2, "b": 1}
    assert {d.format for d in downloads(logged)} == {"ndjson"}
    assert not caplog.records


def test_the_last_export_in_the_log_counts(logged: Path) -> None:
    write_log(logged, [("b.ndjson", 7), ("a.ndjson", 7)])
    write_log(logged, [("b.ndjson", 1), ("a.ndjson", 2)], "e2", more=True)
    assert rows_of(logged) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "files",
    [
        [("a.ndjson", 2)],
        [("a.ndjson", 2), ("b.ndjson", None)],
        [("a.ndjson", 2), ("b.ndjson", 1), ("more/b.ndjson", 5)],
        [("0.ndjson", 2), ("a.ndjson", 1)],
    ],
    ids=["a file is not in it", "no number", "two of one name", "other numbers"],
)
def test_a_log_that_does_not_tell_of_every_file_declares_nothing(
    logged: Path, files: list[tuple[str, int | None]]
) -> None:
    write_log(logged, files)
    assert rows_of(logged) == {"a": None, "b": None}


BAD_LINES = [
    b"nonsense",
    b"[]",
    b"5",
    b'{"eventId":"download_complete"}',
    b'{"exportId":"e1","eventId":"download_complete"}',
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_of_the_log_is_a_warning(logged: Path, caplog: pytest.LogCaptureFixture, line: bytes) -> None:
    write_log(logged, [("b.ndjson", 1), ("a.ndjson", 2)])
    with (logged / "log.ndjson").open("ab") as file:
        file.write(line + b"\n" + line + b"\n")
    assert rows_of(logged) == {"a": 2, "b": 1}
    (told,) = caplog.records
    assert "log.ndjson has 2 lines that are not events of an export" in told.getMessage()


def test_a_log_that_can_not_be_read_is_a_warning(logged: Path, caplog: pytest.LogCaptureFixture) -> None:
    (logged / "log.ndjson").symlink_to("/dev/null")
    assert rows_of(logged) == {"a": None, "b": None}
    assert "log.ndjson is not used" in caplog.text
