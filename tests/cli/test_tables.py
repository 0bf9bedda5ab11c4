"""Tables on terminals: they fit, and what is not shown is said to be not shown."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len
from tests.cli.conftest import write_export
from tests.cli.terminals import on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion
    from tests.cli.conftest import RunCommand

HEADER = "patient_id,event_time,event_type,value\n"
on_a_plain_terminal = partial(on_a_terminal, NO_COLOR="1", TERM="dumb")
LINES = (
    "exports list",
    "downloads list demo",
    "downloads fetch demo --dir fetched -q",
    "verify demo.json broken.json -q",
    "count demo -q",
    "count wide -s root",
    "count words -s root --on-malformed skip -q",
)


def write_counted(root: Path, export: str, counts: dict[tuple[str, str], int]) -> None:
    """Make an export with so many records of each patient and type."""
    rows = (f"{patient},2025-01-01T00:00:00Z,{name},1\n" * n for (patient, name), n in counts.items())
    write_export(root, export, day=HEADER + "".join(rows))


@pytest.fixture
def exports(workplace: Path, command: RunCommand) -> Path:
    """A folder with exports of many types, of wide characters and of a malformed row; and two files to verify."""
    root = workplace / "root"
    write_counted(root, "wide", {(f"P{p}", f"type_{t:02}"): 1 + p * t % 7 for p in range(4) for t in range(14)})
    words = {("患者一", "体温测量"): 12, ("Zoë", "heart_rate"): 3, ("Zoe\u0308", "heart_rate"): 4}
    write_counted(root, "words", words)
    with (root / "words" / "day.csv").open("a") as file:
        file.write("P1,2025-01-01T00:00:00Z,heart_rate\n")
    assert command("count", "demo", "-o", "demo.json").code == 0
    document = json.loads((workplace / "demo.json").read_bytes())
    document["patients"]["P001"]["bp_sys"] += 1_000_000
    (workplace / "demo.json").write_text(json.dumps(document))
    (workplace / "broken.json").write_text("{")
    return workplace


@pytest.mark.gate
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_each_table_fits_the_terminal(width: int, exports: Path, snapshot: SnapshotAssertion) -> None:
    for line in LINES:
        _, shown = on_a_plain_terminal(exports, *line.split(), "-T", width=width)
        assert all(cell_len(text) <= width for text in shown.splitlines()), line
        assert shown == snapshot(name=line)


@pytest.mark.gate
def test_in_a_pipe_a_table_has_all_columns_and_rows(workplace: Path, command: RunCommand) -> None:
    counts = {(f"P{patient}", f"type_{number}"): 1 for patient in range(150) for number in range(200)}
    write_counted(workplace / "root", "trial", counts)
    for output in (), ("-o", "table.txt"):
        done = command("count", "trial", "-s", "root", "-T", *output)
        lines = (done.stdout or (workplace / "table.txt").read_text()).splitlines()
        assert len(lines[1].split()) == 202
        assert lines[-1].split() == ["total", *["150"] * 200, "30,000"]
        assert len(lines) == 150 + 5


def test_a_long_table_is_its_first_and_last_rows_unless_all_are_wanted(workplace: Path) -> None:
    write_counted(workplace / "root", "trial", {(f"P{number:03}", "x"): 1 for number in range(101)})
    line = ("count", "trial", "-s", "root", "-T")
    _, shown = on_a_plain_terminal(workplace, *line)
    assert re.findall(r"P\d+|…", shown) == [f"P{n:03}" for n in range(10)] + ["…"] + [
        f"P{n:03}" for n in range(91, 101)
    ]
    assert "20 of 101 patients; --all shows all" in shown
    assert "101" in shown.split("total")[2]  # the totals are those of all
    _, shown = on_a_plain_terminal(workplace, *line, "--all")
    assert re.findall(r"P\d+|…", shown) == [f"P{n:03}" for n in range(101)]


def test_top_shows_the_patients_with_the_most_records(command: RunCommand, workplace: Path) -> None:
    write_counted(workplace / "root", "trial", {("A", "x"): 1, ("B", "y"): 3, ("C", "x"): 2, ("D", "x"): 3})
    shown = command("count", "trial", "-s", "root", "-T", "--top", "3").stdout
    assert re.findall(r"^[A-D]", shown, re.MULTILINE) == ["B", "D", "C"]
    assert "3 of 4 patients, those with the most records" in shown
    refused = command("count", "--top", "3")
    assert (refused.code, refused.stdout) == (2, "")
    assert "add --table" in refused.stderr


# ---- The format ----


def test_json_is_the_default_on_a_terminal_too(workplace: Path) -> None:
    assert json.loads(on_a_terminal(workplace, "count", "-q")[1])["totals"] == {"bp_dia": 9372, "bp_sys": 9412}


@pytest.mark.gate
def test_the_format_of_the_environment_holds_on_a_terminal_alone(workplace: Path, command: RunCommand) -> None:
    variable: dict[str, Any] = {"MOCKEXPORT_FORMAT": "table"}
    assert "─" in on_a_terminal(workplace, "count", "-q", **variable)[1]
    assert "─" in on_a_terminal(workplace, "count", "-q", "-o", "-", **variable)[1]
    assert json.loads(command("count", **variable).stdout)
    assert on_a_terminal(workplace, "count", "-q", "-o", "counts.json", **variable)[1] == ""
    assert json.loads((workplace / "counts.json").read_bytes())


def test_an_option_wins_over_the_format_of_the_environment(workplace: Path) -> None:
    assert json.loads(on_a_terminal(workplace, "count", "-q", "--format", "json", MOCKEXPORT_FORMAT="table")[1])
    assert "─" in on_a_terminal(workplace, "count", "-q", "-T", MOCKEXPORT_FORMAT="csv")[1]


def test_an_unknown_format_in_the_environment_is_said_to_come_from_there(command: RunCommand) -> None:
    refused = command("count", MOCKEXPORT_FORMAT="xml")
    assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "MOCKEXPORT_FORMAT is 'xml'; it takes json, table or csv" in refused.stderr


def test_table_is_short_for_its_format_and_contradicts_another(command: RunCommand) -> None:
    assert command("exports", "list", "-T") == command("exports", "list", "--format", "table")
    refused = command("exports", "list", "-T", "--format", "csv")
    assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


# ---- Colours ----


@pytest.mark.gate
def test_colours_in_a_pipe_are_wanted_or_not_and_files_have_none(command: RunCommand, workplace: Path) -> None:
    plain = command("count", "-T").stdout
    assert "\x1b" not in plain
    coloured = command("count", "-T", FORCE_COLOR="1").stdout
    assert "\x1b[35m3,106 +\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain  # colour is not all that tells
    assert "\x1b[3" not in command("count", "-T", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert command("count", "-T", "-o", "table.txt", FORCE_COLOR="1").code == 0
    assert (workplace / "table.txt").read_text() == plain


# ---- The pager ----

LONG = ("downloads", "list", "large", "-T")
TO_FILE = "sh -c 'cat >paged; echo $LESS >less'"


def test_a_table_that_is_longer_than_the_screen_is_shown_in_the_pager(workplace: Path) -> None:
    code, shown = on_a_terminal(workplace, *LONG, height=20, PAGER=TO_FILE)
    assert (code, shown) == (0, "")
    assert (workplace / "paged").read_text().count("\n") == 23
    assert (workplace / "less").read_text() == "FRX\n"
    on_a_terminal(workplace, *LONG, height=20, PAGER=TO_FILE, LESS="S")
    assert (workplace / "less").read_text() == "S\n"


@pytest.mark.parametrize("case", ["short", "--no-pager", "empty", "dumb", "json", "missing", "broken", "unclosed"])
def test_without_a_pager_that_works_and_is_needed_all_is_printed(workplace: Path, case: str) -> None:
    pagers = {"empty": "", "missing": "/nowhere/less", "broken": "false", "unclosed": "less '"}
    code, shown = on_a_terminal(
        workplace,
        *(LONG[:-1] if case == "json" else LONG),
        *(["--no-pager"] if case == "--no-pager" else []),
        height=24 if case == "short" else 20,
        PAGER=pagers.get(case, TO_FILE),
        TERM="dumb" if case == "dumb" else "xterm",
    )
    assert code == 0
    assert (
        shown.count("9fff8c21-185b-40ac-a3e4-203c6fb742d5") == shown.count("40c8eb3b-e645-468d-a5a7-64295cf4a4e8") == 1
    )
    assert not (workplace / "paged").exists()


@pytest.mark.parametrize(
    ("pager", "told"), [("/nowhere/less", "No such file or directory"), ("less '", "no closing quotation")]
)
def test_a_pager_that_cannot_be_run_is_told_with_its_variable(workplace: Path, pager: str, told: str) -> None:
    note = f"mockexport: PAGER: cannot run {pager!r}: {told}"
    _, shown = on_a_terminal(workplace, *LONG, height=20, PAGER=pager)
    assert shown.splitlines()[0] == note
    _, shown = on_a_terminal(workplace, *LONG, "-q", height=20, PAGER=pager)
    assert "PAGER" not in shown


def test_that_the_default_pager_is_not_installed_is_not_told(workplace: Path) -> None:
    _, shown = on_a_terminal(workplace, *LONG, height=20, PATH="/nowhere")
    assert "PAGER" not in shown
    assert "40c8eb3b-e645-468d-a5a7-64295cf4a4e8" in shown


def test_ctrl_c_is_for_the_pager(workplace: Path) -> None:
    interrupts_us = "sh -c 'cat >paged; kill -INT $PPID'"
    assert on_a_terminal(workplace, *LONG, height=20, PAGER=interrupts_us) == (0, "")
    assert (workplace / "paged").exists()


@pytest.mark.skipif(not shutil.which("less"), reason="less is not installed")
def test_less_shows_the_first_screen_and_ends_with_q(workplace: Path) -> None:
    code, shown = on_a_terminal(workplace, *LONG, height=10, answer=(b":\x1b[K", b"q"))
    assert code == 0
    assert "9fff8c21-185b-40ac-a3e4-203c6fb742d5" in shown
    assert "40c8eb3b-e645-468d-a5a7-64295cf4a4e8" not in shown
