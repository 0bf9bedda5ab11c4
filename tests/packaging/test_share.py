"""The man page and the completions that wheels install are those of the commands as they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.documents import HELP_PATHS, SHARE, shared_files

PAGE = SHARE / "man" / "man1" / "mockexport.1"
OPTION = re.compile(r"^ *(?:-\w, )?(--[a-z-]+)", re.MULTILINE)


@cache
def shown(columns: int) -> str:
    """The page as `man` shows it."""
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    run = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-P-cbou", f"-rLL={columns}n", PAGE],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert run.stderr == ""
    return run.stdout.replace("\u2010", "-").replace("\u2212", "-")


def section(title: str) -> str:
    found = re.search(rf"^{title}\n(.*?)(?=^\S|\Z)", shown(80), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


@pytest.mark.gate
def test_the_files_are_up_to_date() -> None:
    there = {str(file.relative_to(SHARE)): file.read_text("utf-8") for file in SHARE.rglob("*") if file.is_file()}
    assert there == shared_files(), "run: uv run --group dev python -m tests.documents"


@pytest.mark.gate
@pytest.mark.parametrize("path", HELP_PATHS[1:])
def test_the_page_has_each_command_with_all_its_options(path: str) -> None:
    told = re.search(rf"^   mockexport {path}\n(.*?)(?=^   ?\S|^\S)", shown(80), re.MULTILINE | re.DOTALL)
    assert told
    asked = [COMMAND, *path.split(), "--help"]
    options = OPTION.findall(subprocess.check_output(asked, env=environment(), text=True))
    assert options
    assert [option for option in options if not re.search(rf"{option}\b", told[1])] == []


def test_the_page_has_the_sections_of_a_man_page() -> None:
    titles = re.findall(r"^[A-Z][A-Z ]+$", shown(80), re.MULTILINE)
    assert titles == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES",
    ]  # fmt: skip
    assert re.match(r" +mockexport - list, count", section("NAME"))
    assert "MOCKEXPORT_SOURCE" in section("ENVIRONMENT")
    assert "DIR/EXPORT/manifest.json" in section("FILES")
    assert re.findall(r"^ {7}(\d+)", section("EXIT STATUS"), re.MULTILINE) == [*"0123456", "70", "130"]
    assert "mockexport verify outputs/" in section("EXAMPLES")


def test_text_that_roff_would_take_for_its_own_is_shown_as_it_is() -> None:
    assert "'data/*.csv'" in shown(80)
    assert "fhir+https://\u2026" in shown(80)
    assert "--start 2025-08-26 --end 2025-08-26 \\\n" in shown(80)
