"""The tutorial: each command that it shows prints what it shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, environment

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_each_command_of_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    path = f"{Path(COMMAND).parent}:{environment()['PATH']}"
    for block in BLOCKS:
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, expected = shown.partition("\n")
            done = subprocess.run(
                ["bash", "-c", f"{line} 2>&1" if ";" not in line else f"{{ {line}; }} 2>&1"],
                cwd=tmp_path, env=environment(PATH=path), capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.stdout == expected, line


def test_the_tutorial_has_commands() -> None:
    assert len(BLOCKS) > 5


@pytest.mark.parametrize("page", sorted(PAGE.parent.glob("*.md")), ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


TROUBLESHOOTING = (PAGE.parent / "troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^\| `([^`]+)` \|", TROUBLESHOOTING, re.MULTILINE)
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (PAGE.parent.parent / "src").rglob("*.py"))
WORDS = re.sub(r"\{[^{}]*\}", "{}", "".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', SOURCES)))


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_in_the_page_of_troubleshooting_is_one_that_there_is(message: str) -> None:
    for part in re.split(r"…|FILE|\bN\b|[0-9,]+", message):
        assert part.strip(" ;:") in WORDS, part
