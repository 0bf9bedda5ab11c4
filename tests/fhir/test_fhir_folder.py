"""FolderSource over FHIR bulk exports, as their clients leave them on disk: which files are counted, and as what."""

from __future__ import annotations

import gzip
import logging
import pickle
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.fhir.folders import (
    EXPORTED,
    LINKS,
    RUNS,
    SERVER,
    bulk_data_client,
    listed,
    observations,
    patients,
    smart_fetch,
    write_log,
    write_manifest,
)
from tests.files import source_of, zstd_frame

from mockexport import Download, NotFoundError, UnreachableError, UntrustedDataError, UsageError, fetch
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


# ---- The links of smart-fetch ----


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
