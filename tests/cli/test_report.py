"""`--report`: a page beside the usual output, or none if there is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import write_export
from tests.report.pages import read

from mockexport import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import RunCommand

HEADER = "patient_id,event_time,event_type,value\n"
COMMANDS = ("count", "stats", "reconcile")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_tells_what_was_run_and_stands_beside_the_usual_output(
    name: str, workplace: Path, command: RunCommand
) -> None:
    usual = command(name, "demo", "-q")
    done = command(name, "demo", "-q", "--report", "a report.html")
    assert (done.code, done.stderr) == (usual.code, usual.stderr)
    assert done.stdout.count("\n") == usual.stdout.count("\n")
    texts = read((workplace / "a report.html").read_text(encoding="utf-8")).texts
    for told in (f"mockexport {name} demo -q --report 'a report.html'", "demo", "mock", f"mockexport {__version__}"):
        assert told in texts
    assert "18,784" in texts
    assert list(workplace.iterdir()) == [workplace / "a report.html"]


def test_what_a_source_names_is_text_in_the_report(workplace: Path, command: RunCommand) -> None:
    evil = "<script>alert(1)</script>"
    write_export(workplace / "<b>", "demo", day=HEADER + f"{evil},2025-01-01T00:00:00Z,<i>,1\n")
    for name in COMMANDS:
        command(name, "-s", "<b>", "-q", "--report", "report.html")
        texts = read((workplace / "report.html").read_text(encoding="utf-8")).texts
        assert {"<i>", "<b>"} <= set(texts)
        assert evil in texts or name == "reconcile"


def test_an_export_that_is_not_whole_has_a_report(workplace: Path, command: RunCommand) -> None:
    write_export(workplace / "root", "demo", day=HEADER + "P1,2025-01-01T00:00:00Z\n")
    done = command("reconcile", "-s", "root", "-q", "--report", "report.html")
    assert done.code == 1
    texts = read((workplace / "report.html").read_text(encoding="utf-8")).texts
    assert "Have the rows repaired at the source." in texts
    assert any("NOT WHOLE" in text for text in texts)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_fails_leaves_the_report_that_was_there(name: str, workplace: Path, command: RunCommand) -> None:
    (workplace / "report.html").write_text("before")
    assert command(name, "nothing", "--report", "report.html").code == 3
    assert [(path.name, path.read_text()) for path in workplace.iterdir()] == [("report.html", "before")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("missing/report.html", "--report missing/report.html: the folder missing does not exist"),
        (".", "--report . is a folder"),
        ("-", "--report takes a file, such as report.html, and not stdout"),
        ("out.json", "--report and --output are the same file, out.json"),
    ],
)
def test_a_report_that_cannot_be_written_is_an_error_before_any_work(
    given: str, told: str, workplace: Path, command: RunCommand
) -> None:
    done = command("count", "nothing", "-o", "out.json", "--report", given)  # no such export: the work would fail, too
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert list(workplace.iterdir()) == []


def test_commands_without_a_report_do_not_take_one(command: RunCommand) -> None:
    for line in (["verify"], ["exports", "list"], ["diff", "a", "b"]):
        assert "--report" in (done := command(*line, "--report", "x.html")).stderr
        assert done.code == 2
