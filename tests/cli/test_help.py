"""Every command explains itself, and docs/cli.md tells the same."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import COMMAND, Finished, environment
from tests.documents import HELP_PATHS, help_section
from tests.pairing import by_default
from typer.main import get_command

from mockexport.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion
    from tests.cli.conftest import RunCommand

GROUPS = {"", "exports", "downloads", "heartrate"}


@pytest.fixture(scope="module")
def help_of() -> Callable[[str], str]:
    """`help_of(path)` is the help of a command, which is asked for once."""

    @cache
    def ask(path: str) -> str:
        run = [COMMAND, *path.split(), "--help"]
        return subprocess.run(run, env=environment(), capture_output=True, text=True, check=True).stdout

    return ask


def test_the_list_of_commands_is_whole() -> None:
    names = {""}
    group: Any = get_command(app)
    for name, command in group.commands.items():
        names |= {name} | {f"{name} {inner}" for inner in getattr(command, "commands", ())}
    assert set(HELP_PATHS) == names


@pytest.mark.parametrize("path", HELP_PATHS)
def test_help_is_what_people_read(path: str, help_of: Callable[[str], str], snapshot: SnapshotAssertion) -> None:
    assert help_of(path) == snapshot


@pytest.mark.parametrize("path", by_default(HELP_PATHS, "", "downloads", "count"))
def test_the_short_form_shows_the_same(path: str, command: RunCommand, help_of: Callable[[str], str]) -> None:
    assert command(*path.split(), "-h") == Finished(0, help_of(path), "")


@pytest.mark.parametrize("path", by_default(HELP_PATHS, "", "count", "downloads fetch"))
def test_the_word_help_before_a_command_shows_the_same(
    path: str, command: RunCommand, help_of: Callable[[str], str]
) -> None:
    assert command("help", *path.split()) == Finished(0, help_of(path), "")


def test_a_capital_v_shows_the_version(command: RunCommand) -> None:
    assert command("-V") == command("--version")
    assert command("-V").stdout.startswith("mockexport ")


@pytest.mark.parametrize("path", sorted(set(HELP_PATHS) - GROUPS | {""}))
def test_help_gives_examples_that_name_the_command(path: str, help_of: Callable[[str], str]) -> None:
    assert f"mockexport {path}".strip() in help_of(path).partition("Examples:")[2]


@pytest.mark.parametrize("path", sorted(GROUPS))
def test_a_bare_group_shows_its_help_and_ends_with_2(
    path: str, command: RunCommand, help_of: Callable[[str], str]
) -> None:
    assert command(*path.split()) == Finished(2, "", help_of(path))


@pytest.mark.parametrize("path", by_default(HELP_PATHS, "", "count", "downloads fetch", "serve"))
def test_no_line_of_help_is_wider_than_a_terminal(path: str, command: RunCommand) -> None:
    shown = command(*path.split(), "--help", COLUMNS="80").stdout
    assert [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.gate
def test_docs_tell_the_help_of_every_command(pytestconfig: pytest.Config) -> None:
    docs: Path = pytestconfig.rootpath / "docs" / "cli.md"
    assert help_section() in docs.read_text(encoding="utf-8"), "run: uv run --group dev python -m tests.documents"


def test_docs_name_every_option(help_of: Callable[[str], str], pytestconfig: pytest.Config) -> None:
    told = (pytestconfig.rootpath / "docs" / "cli.md").read_text(encoding="utf-8").partition("<!-- help -->")[0]
    options = {option for path in HELP_PATHS for option in re.findall(r"--[a-z][a-z-]+", help_of(path))}
    assert {option for option in options if option not in told} == set()
