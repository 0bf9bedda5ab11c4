"""FolderSource with a manifest: the folder is taken for what the manifest says, or refused."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.bodies import COUNTS_OF_SOUND, PLAIN
from tests.files import read, source_of
from tests.sources import csv_body

from mockexport import Counts, Download, NotFoundError, UntrustedDataError, count
from mockexport.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

PACKED = gzip.compress(PLAIN)


def entry(file: str, held: bytes | None = None, **declared: Any) -> dict[str, Any]:
    """A download as a manifest lists it, with the SHA-256 of what its file holds."""
    sha256 = None if held is None else hashlib.sha256(held).hexdigest()
    return {"id": file.split(".", maxsplit=1)[0], "file": file, "sha256": sha256, **declared}


def list_in(export: Path, *downloads: dict[str, Any], name: str = "trial") -> None:
    (export / "manifest.json").write_bytes(orjson.dumps({"export": name, "downloads": list(downloads)}))


def test_a_manifest_declares_what_the_files_hold_and_their_order(export: Path) -> None:
    (export / "a.csv.gz").write_bytes(PACKED)
    (export / "b.csv").write_bytes(PLAIN)
    declared = {
        "rows": 3,
        "patients": ["P001", "P002"],
        "event_types": ["bp_sys", "bp_dia"],
        "start_time": "2025-08-26T00:00:00",
        "end_time": "2025-08-27T00:00:00",
    }
    list_in(export, entry("b.csv", PLAIN, **declared), entry("a.csv.gz", PACKED, rows=3))
    plain, packed = source_of(export).downloads("trial")
    assert plain == Download(
        "trial", "b", 3, ("bp_sys", "bp_dia"), ("P001", "P002"),
        datetime(2025, 8, 26, tzinfo=UTC), datetime(2025, 8, 27, tzinfo=UTC), size=len(PLAIN), etag=plain.etag,
    )  # fmt: skip
    assert (packed.id, packed.rows, packed.size) == ("a", 3, None)
    assert count(source_of(export), "trial") == Counts(COUNTS_OF_SOUND) + Counts(COUNTS_OF_SOUND)


def test_the_id_of_a_download_need_not_be_the_name_of_its_file(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    list_in(export, {**entry("a.csv", PLAIN), "id": "../Blood pressure, 1"})
    assert source_of(export).downloads("trial")[0].id == "../Blood pressure, 1"
    assert read(export, download="../Blood pressure, 1") == PLAIN
    with pytest.raises(NotFoundError, match="no download 'a'"):
        read(export)


def test_a_manifest_makes_an_export_of_a_folder_even_before_its_files_are_there(export: Path) -> None:
    list_in(export, entry("a.csv"))
    assert source_of(export).exports() == ["trial"]


def test_a_file_that_is_listed_and_missing_is_an_error_with_a_hint(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    for missing in ("b.csv", "c.csv"):
        list_in(export, entry("a.csv", PLAIN), entry(missing))
        with pytest.raises(UntrustedDataError, match=rf"lists {missing}, which is not there; .*fetch. completes it"):
            count(source_of(export), "trial")


def test_a_file_that_is_there_and_not_listed_is_an_error(export: Path) -> None:
    for name in ("a.csv", "b.csv.gz"):
        (export / name).write_bytes(PLAIN)
    list_in(export, entry("a.csv", PLAIN))
    with pytest.raises(UntrustedDataError, match=r"b\.csv\.gz is not listed"):
        count(source_of(export), "trial")


def test_what_is_known_to_be_no_data_need_not_be_listed(export: Path) -> None:
    for name in ("a.csv", "README.md", "a.csv.sha256", "fetch.log", ".hidden.csv", ".a.csv.part"):
        (export / name).write_bytes(PLAIN)
    list_in(export, entry("a.csv", PLAIN))
    assert count(source_of(export), "trial") == Counts(COUNTS_OF_SOUND)


@pytest.mark.parametrize(
    ("name", "held", "other"),
    [
        ("a.csv", PLAIN, PLAIN.replace(b"71", b"72")),
        ("a.csv.gz", PACKED, gzip.compress(PLAIN.replace(b"71", b"72"))),
    ],
)
def test_a_file_of_another_sha256_is_never_taken_for_sound(export: Path, name: str, held: bytes, other: bytes) -> None:
    (export / name).write_bytes(other)
    list_in(export, entry(name, held, rows=3))
    with pytest.raises(
        UntrustedDataError, match=r"a\.csv.* has SHA-256 .*…, but its manifest declares .*; fetch it again"
    ):
        count(source_of(export), "trial")


def test_a_plain_file_from_an_offset_on_is_not_the_whole_that_the_sha256_is_of(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    list_in(export, entry("a.csv", PLAIN))
    assert read(export, offset=50) == PLAIN[50:]


@pytest.mark.parametrize("declared", [2, 4])
def test_other_rows_than_the_manifest_declares_are_an_error_with_both_figures(export: Path, declared: int) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    list_in(export, entry("a.csv", PLAIN, rows=declared))
    with pytest.raises(UntrustedDataError, match=f"declares {declared} rows but holds 3"):
        count(source_of(export), "trial")


def test_a_file_cut_short_that_no_checksum_guards_is_found_by_its_rows(export: Path) -> None:
    (export / "a.csv").write_bytes(csv_body(989))
    list_in(export, entry("a.csv", rows=1000))
    with pytest.raises(UntrustedDataError, match=r"declares 1,000 rows but holds 989; it ended early"):
        count(source_of(export), "trial")


@pytest.mark.parametrize("text", [b"", b"{}", b"nonsense", b'{"export": "other", "downloads": []}'])
def test_a_manifest_that_makes_no_sense_is_never_passed_over(export: Path, text: bytes) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "manifest.json").write_bytes(text)
    for ask in (lambda: source_of(export).downloads("trial"), lambda: read(export)):
        with pytest.raises(UntrustedDataError, match=r"trial/manifest\.json is no"):
            ask()


@pytest.mark.parametrize("file", ["../x.csv", "/etc/hostname", "sub/x.csv", "..", ".hidden.csv", ""])
def test_no_file_of_a_manifest_leads_out_of_the_folder(export: Path, file: str) -> None:
    (export.parent / "x.csv").write_bytes(PLAIN)
    list_in(export, {"id": "a", "file": file})
    for ask in (lambda: source_of(export).downloads("trial"), lambda: read(export)):
        with pytest.raises(UntrustedDataError, match=r"the file name of download .* is missing, or not a plain name"):
            ask()


def test_a_folder_under_another_name_is_no_longer_the_export_of_its_manifest(export: Path) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    list_in(export, entry("a.csv", PLAIN))
    export.rename(export.parent / "renamed")
    with pytest.raises(UntrustedDataError, match=r"is not a manifest of export 'renamed': it is for another export"):
        count(source_of(export), "renamed")


def test_an_unknown_download_has_a_suggestion(export: Path) -> None:
    (export / "first.csv").write_bytes(PLAIN)
    list_in(export, entry("first.csv", PLAIN))
    with pytest.raises(NotFoundError, match=r"no download 'frist' .*did you mean 'first'\?"):
        read(export, download="frist")


def test_a_manifest_is_read_once_as_long_as_it_stays_the_same(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (export / "a.csv").write_bytes(PLAIN)
    (export / "b.csv").write_bytes(PLAIN)
    list_in(export, entry("a.csv"))
    source = source_of(export)
    times = []

    def counted(path: Path, name: str) -> Any:
        times.append(path)
        return read_manifest(path, name)

    monkeypatch.setattr("mockexport.sources.folder.read_manifest", counted)
    for _ in range(3):
        assert b"".join(source.open(Download("trial", "a"))) == PLAIN
    assert len(times) == 1
    list_in(export, entry("a.csv"), entry("b.csv"))
    assert b"".join(source.open(Download("trial", "b"))) == PLAIN
    assert len(times) == 2
