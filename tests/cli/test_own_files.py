"""Files of one's own on the command line: how they are named, and what is said of them when they can't be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import RunCommand

TEXT = "id;code\n7;a\n7;a\n8;b\n"
TOTALS = {"patients": {"7": {"a": 2}, "8": {"b": 1}}, "totals": {"a": 2, "b": 1}}
COLUMNS = ("--patient-column", "id", "--type-column", "code")


@pytest.fixture
def visits(workplace: Path) -> Path:
    """A folder with one file of another's making."""
    folder = workplace / "data"
    folder.mkdir()
    (folder / "visits.csv").write_text(TEXT)
    return folder


@pytest.mark.parametrize("source", ["data/visits.csv", "data/*.csv", "data"])
def test_a_file_a_pattern_and_a_folder_need_no_export(command: RunCommand, visits: Path, source: str) -> None:
    assert visits.is_dir()
    done = command("count", "-s", source, *COLUMNS)
    assert (done.code, done.stderr, orjson.loads(done.stdout)) == (0, "", TOTALS)
    listed = command("downloads", "list", "-s", source, "--format", "csv")
    assert listed.stdout.splitlines()[1].startswith("visits,")


def test_a_result_of_a_file_is_verified_against_it(command: RunCommand, visits: Path) -> None:
    assert visits.is_dir()
    assert command("count", "-s", "data/visits.csv", *COLUMNS, "-o", "visits.json").code == 0
    assert command("verify", "visits.json", "-s", "data/visits.csv", *COLUMNS).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("-s", "data"), 6, "has id, code; --patient-column and --type-column name the columns"),
        (("-s", "data", "--delimiter", ":"), 2, "--delimiter ':' is not one of , ; | tab auto"),
        (("-s", "data", "--patient-column", "event_type"), 2, "cannot both be in the column 'event_type'"),
        (("-s", "data/*.tsv"), 3, "no file matches 'data/*.tsv'"),
        (("-s", "data/visit.csv"), 3, "no file or folder 'data/visit.csv'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_the_option_that_helps(
    command: RunCommand, visits: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    assert visits.is_dir()
    done = command("count", *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_exports_are_named_where_one_is_needed(command: RunCommand, visits: Path) -> None:
    for name in ("one", "two"):
        (visits.parent / "root" / name).mkdir(parents=True)
        (visits.parent / "root" / name / "a.csv").write_text(TEXT)
    done = command("count", "-s", "root", *COLUMNS)
    assert (done.code, done.stderr) == (2, "mockexport: error: name an export: root holds one, two\n")
    assert command("count", "one", "-s", "root", *COLUMNS).code == 0


def test_what_would_be_left_out_is_named_until_it_is_ignored(command: RunCommand, visits: Path) -> None:
    (visits / "notes.md").touch()
    done = command("count", "-s", "data", *COLUMNS)
    assert done.code == 6
    assert done.stderr.endswith("; --ignore NAME leaves it out\n")
    assert command("count", "-s", "data", *COLUMNS, "--ignore", "*.md").code == 0
