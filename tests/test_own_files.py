"""Files of one's own as a source: a file, a pattern, a folder; whatever their columns, delimiters and suffixes are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from tests.files import zstd_frame
from tests.pairing import pairs

from mockexport import (
    Checkpoint,
    Counts,
    CsvFormat,
    NotFoundError,
    Subject,
    UntrustedDataError,
    UsageError,
    count,
    fetch,
    open_source,
    process_workers,
)
from mockexport.sources import FilesSource, FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [("id", "code", "note"), ("7", "a", "x"), ("7", "a", "y"), ("8", "b", "")]
OWN = CsvFormat("id", "code")
EXPECTED = Counts({"7": {"a": 2}, "8": {"b": 1}})
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd_frame,
}


def written(delimiter: str = ",") -> bytes:
    return "".join(delimiter.join(row) + "\n" for row in ROWS).encode()


def counted(name: Path | str, **options: Any) -> Counts:
    source = open_source(name)
    return count(source, source.exports()[0], csv=OWN, **options)


# ---- Columns and delimiters ----


@pytest.mark.parametrize("given", [True, False], ids=["given", "found"])
@pytest.mark.parametrize("delimiter", DELIMITERS.values(), ids=DELIMITERS)
def test_each_delimiter_is_found_by_the_header_or_given(
    tmp_path: Path, kernel: str, delimiter: str, given: bool
) -> None:
    (tmp_path / "visits.csv").write_bytes(written(delimiter))
    csv = CsvFormat("id", "code", delimiter if given else None)
    assert count(open_source(tmp_path / "visits.csv"), "visits", csv=csv, kernel=kernel) == EXPECTED


def test_another_delimiter_than_the_one_given_is_an_error_that_tells_the_header(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_bytes(written(";"))
    with pytest.raises(UntrustedDataError, match="no column id in the header, which has id;code;note; patient_column"):
        count(open_source(tmp_path / "visits.csv"), "visits", csv=CsvFormat("id", "code", ","))


def test_delimiters_within_quotes_and_within_names_do_not_mislead(tmp_path: Path, kernel: str) -> None:
    (tmp_path / "visits.csv").write_bytes(b'"id";"a,b,c,d\n,e|f";code\n7;"x;\n,";a\n')
    assert counted(tmp_path / "visits.csv", kernel=kernel) == Counts({"7": {"a": 1}})


@pytest.mark.parametrize("kinds", [("id", None), (None, "code")], ids=str)
def test_one_name_is_enough_if_the_other_column_has_its_usual_name(
    tmp_path: Path, kinds: tuple[str | None, str | None]
) -> None:
    usual = {"id": "patient_id", "code": "event_type", "note": "note"}
    header = [name if name in kinds else usual[name] for name in ROWS[0]]
    (tmp_path / "visits.csv").write_bytes(written().replace(b"id,code,note", ",".join(header).encode()))
    assert count(open_source(tmp_path / "visits.csv"), "visits", csv=CsvFormat(*kinds)) == EXPECTED


def test_without_names_all_columns_of_an_export_are_needed(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_bytes(b"patient_id,event_type\n7,a\n")
    with pytest.raises(
        UntrustedDataError, match="no column event_time in the header, which has patient_id, event_type"
    ):
        count(open_source(tmp_path / "visits.csv"), "visits")


def test_what_looks_like_data_in_place_of_a_header_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_bytes(b"Mrs Miller,2025-01-01,a\n")
    with pytest.raises(UntrustedDataError, match="the first line looks like data") as failed:
        counted(tmp_path / "visits.csv")
    assert "Miller" not in str(failed.value)


@pytest.mark.parametrize("wrong", [("x", "x"), ("event_type", None), (None, "patient_id")], ids=str)
def test_one_column_cannot_be_both(wrong: tuple[str | None, str | None]) -> None:
    with pytest.raises(UsageError, match="patients and types cannot both be in the column"):
        CsvFormat(*wrong)


@pytest.mark.parametrize("wrong", ["", ":", ",,", '"', "\n"])
def test_another_delimiter_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"the delimiter .* is not one of"):
        CsvFormat(delimiter=wrong)


def test_a_large_file_is_counted_in_splits_with_its_own_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    monkeypatch.setattr("mockexport.sources.data_files.SPLIT_BYTES", 1000)
    (tmp_path / "visits.txt").write_bytes(b"code\tid\n" + b"a\t7\n" * 2000)
    seen: set[int] = set()
    counts = counted(tmp_path / "visits.txt", kernel=kernel, on_progress=lambda parts, _: seen.add(len(parts)))
    assert counts == Counts({"7": {"a": 2000}})
    assert seen == {8}


def test_a_checkpoint_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_bytes(written())
    for csv in (OWN, OWN):
        with Checkpoint(tmp_path / "kept", Subject("visits", "visits", skip_malformed=False, csv=csv)) as checkpoint:
            assert counted(tmp_path / "visits.csv", checkpoint=checkpoint) == EXPECTED
    other = Subject("visits", "visits", skip_malformed=False, csv=CsvFormat("id", "note"))
    with pytest.raises(UsageError, match="belongs to export 'visits'"), Checkpoint(tmp_path / "kept", other):
        pass


# ---- Suffixes ----

SUFFIXES = {suffix: suffix for suffix in (".csv", ".tsv", ".txt", ".CSV", ".Tsv")}


@pytest.mark.parametrize(("suffix", "packed"), pairs(SUFFIXES, {name or "plain": name for name in PACK}))
def test_each_suffix_is_read_in_any_case_from_a_folder_a_pattern_and_a_file(
    tmp_path: Path, suffix: str, packed: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / f"visits{suffix}{packed.upper() if suffix.isupper() else packed}"
    file.write_bytes(PACK[packed](written("\t" if "tsv" in suffix.lower() else ",")))
    for name in (folder, folder / "v*", file):
        source = open_source(name)
        assert source.exports() == ["visits" if name == file else "data"]
        assert [download.id for download in source.downloads(source.exports()[0])] == ["visits"]
        assert counted(name) == EXPECTED


@pytest.mark.parametrize("packed", [".bz2", ".xz"])
def test_a_compressed_file_of_several_streams_is_read_to_its_last_byte(tmp_path: Path, packed: str) -> None:
    body = written()
    padding = b"\0" * 8 if packed == ".xz" else b""
    (tmp_path / f"v.csv{packed}").write_bytes(b"".join(PACK[packed](part) + padding for part in (body[:9], body[9:])))
    assert counted(tmp_path / f"v.csv{packed}") == EXPECTED


@pytest.mark.parametrize("packed", [".bz2", ".xz"])
def test_a_compressed_file_that_is_cut_or_has_more_behind_it_is_an_error(tmp_path: Path, packed: str) -> None:
    body = PACK[packed](written() * 1000)
    for wrong in (body[:-1], body[: len(body) // 2], body + b"x", body + body[:3], b"", body[:20] + b"?" + body[21:]):
        (tmp_path / f"v.csv{packed}").write_bytes(wrong)
        with pytest.raises(UntrustedDataError, match=r"cannot be decompressed|empty body"):
            counted(tmp_path / f"v.csv{packed}")


# ---- Patterns ----


def test_a_pattern_matches_as_a_shell_does_and_names_each_download_by_its_path(tmp_path: Path) -> None:
    for name in ("a.csv", "b.CSV", ".c.csv", "[d].csv", "year/e.csv", "year/month/f.csv"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(written())

    def ids(pattern: str) -> list[str]:
        source = FilesSource(tmp_path / pattern)
        assert source.exports() == ["data"]
        return [download.id for download in source.downloads("data")]

    assert ids("data/*.csv") == ["[d]", "a"]
    assert ids("data/?.*") == ["a", "b"]
    assert ids("data/*/*.csv") == ["year/e"]
    assert ids("data/**/*.csv") == ["[d]", "a", "year/e", "year/month/f"]
    assert ids("data/[ab].*") == ["a", "b"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name in ("[ab].csv", "a.csv"):
        (tmp_path / name).write_bytes(written())
    assert FilesSource(tmp_path / "[ab].csv").exports() == ["[ab]"]


def test_a_pattern_that_matches_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file matches '.*x\*\.csv'"):
        open_source(tmp_path / "x*.csv")


def test_a_pattern_that_matches_a_folder_is_an_error_unless_it_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(written())
    (tmp_path / "more").mkdir()
    with pytest.raises(UntrustedDataError, match="more is a folder within an export"):
        open_source(tmp_path / "*")
    source = open_source(tmp_path / "*", ignore=["mor?"])
    assert [download.id for download in source.downloads(tmp_path.name)] == ["a"]


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv"):
        (tmp_path / name).write_bytes(written())
    for given in (tmp_path, tmp_path / "a.*"):
        with pytest.raises(UntrustedDataError, match=r"a\.tsv and a\.csv hold the same download"):
            counted(given)


def test_other_processes_read_the_same_files_wherever_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(written())
    monkeypatch.chdir(tmp_path)
    for given in ("*.csv", "a.csv", "."):
        source = open_source(given, ignore=["nothing"])
        again = pickle.loads(pickle.dumps(source))
        monkeypatch.chdir("/")
        assert again.downloads(again.exports()[0]) == open_source(tmp_path / given).downloads(again.exports()[0])
        monkeypatch.chdir(tmp_path)
    twice = Counts({"7": {"a": 4}, "8": {"b": 2}})
    assert counted("*.csv", start_workers=partial(process_workers, jobs=2)) == twice


# ---- Folders ----


@pytest.mark.parametrize("name", ["notes.md", "a.csv.part", "data.xlsx", "b.csv.zip", "part-00000", "a.json"])
def test_what_would_not_be_counted_in_an_export_is_an_error_unless_it_is_ignored(tmp_path: Path, name: str) -> None:
    for file in ("a.csv", name):
        (tmp_path / file).write_bytes(written())
    with pytest.raises(UntrustedDataError, match=f"{name} would not be counted: .*; ignore=.NAME. leaves it out"):
        counted(tmp_path)
    source = FolderSource(tmp_path, ignore=[name])
    assert count(source, tmp_path.name, csv=OWN) == EXPECTED


@pytest.mark.parametrize(
    "name",
    [
        "README",
        "readme.txt",
        "README.md",
        "SHA256SUMS",
        "a.csv.md5",
        "fetch.log",
        "log.ndjson",
        "_SUCCESS",
        ".DS_Store",
    ],
)
def test_what_is_known_to_be_no_data_is_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_bytes(written())
    (tmp_path / name).write_bytes(b"?")
    assert counted(tmp_path) == EXPECTED


def test_folders_within_an_export_are_errors_but_for_those_of_a_fhir_export(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(written())
    for name in ("deleted", "error", "attachments"):
        (tmp_path / name).mkdir()
    assert counted(tmp_path) == EXPECTED
    (tmp_path / "2024").mkdir()
    with pytest.raises(UntrustedDataError, match="2024 is a folder within an export, and would not be counted"):
        counted(tmp_path)


def test_a_folder_with_files_and_folders_of_files_has_them_all_and_leaves_none_out_in_silence(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a.csv", "sub/b.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(written())
    source = open_source(root)
    assert source.exports() == ["data", "sub"]
    assert count(source, "sub", csv=OWN) == EXPECTED
    with pytest.raises(UntrustedDataError, match="sub is a folder within an export"):
        count(source, "data", csv=OWN)
    assert count(open_source(root, ignore=["sub"]), "data", csv=OWN) == EXPECTED


@pytest.mark.parametrize("name", ["data", "data/*.csv"])
def test_nothing_is_fetched_into_the_folder_that_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_bytes(written(";"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the folder that would be fetched"):
        fetch(open_source(name), "data", Path(), csv=OWN)
    assert (tmp_path / "data" / "a.csv").read_bytes() == written(";")
    (kept,) = fetch(open_source(name), "data", Path("kept"), csv=OWN)
    assert (kept.rows, Path("kept/data/a.csv").read_bytes()) == (3, written(";"))


# ---- Another tool ----


@pytest.mark.parametrize(("delimiter", "packed"), pairs(DELIMITERS, {"plain": "", "gz": ".gz", "zst": ".zst"}))
@pytest.mark.parametrize("columns", [("id", "code"), ("code", "id"), ("note", "code")], ids=" ".join)
def test_duckdb_counts_the_same(tmp_path: Path, delimiter: str, packed: str, columns: tuple[str, str]) -> None:
    choices = random.Random(f"{delimiter}{packed}{columns}")
    rows = [(choices.choice("abc"), choices.choice("xyz"), choices.choice("mn")) for _ in range(5000)]
    for name in ("one", "two"):
        text = "".join(delimiter.join(row) + "\n" for row in [("id", "code", "note"), *rows])
        (tmp_path / f"{name}.csv{packed}").write_bytes(PACK[packed](text.encode()))
    patient, event_type = columns
    found = duckdb.execute(
        f"select {patient}, {event_type}, count(*)"
        " from read_csv(?, delim=?, header=true, all_varchar=true) group by all",
        [str(tmp_path / f"*.csv{packed}"), delimiter],
    ).fetchall()
    counts = count(open_source(tmp_path / f"*.csv{packed}"), tmp_path.name, csv=CsvFormat(*columns))
    assert {(p, t, n) for p, types in counts.patients.items() for t, n in types.items()} == set(found)
