"""`mockexport stats` as a user runs it: its answers, its tables, its errors; and what `verify` says of them."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len
from tests.cli.conftest import write_export
from tests.cli.terminals import on_a_terminal

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion
    from tests.cli.conftest import RunCommand

COMMITTED = Path(__file__).parents[2] / "outputs"
HEADER = "patient_id,event_time,event_type,value\n"
CHALLENGE = ["mean", "min", "max", "anomalies", "latency"]
on_a_plain_terminal = partial(on_a_terminal, NO_COLOR="1", TERM="dumb")


@pytest.fixture
def flawed(workplace: Path) -> Path:
    """An export with every kind of flaw, and a type of one record."""
    rows = [f"P{n % 3},2025-01-01T00:{7 * n % 60:02}:00Z,heart_rate,{30 + 5 * n}\n" for n in range(36)]
    rows += [
        "P1,2025-01-01T00:00:00Z,heart_rate,?\n",
        "P1,soon,heart_rate,70\n",
        "P2,2999-01-01T00:00:00Z,mood,-0.125\n",
    ]
    return write_export(workplace / "root", "trial", day=HEADER + "".join(rows))


@pytest.mark.kernel
def test_demo_gives_the_committed_bytes_with_the_five_figures_of_the_challenge_first(command: RunCommand) -> None:
    done = command("stats", "demo", "--jobs", "3")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (COMMITTED / "demo.stats.json").read_text()
    document = json.loads(done.stdout)
    assert list(document) == ["patients", "totals", "all"]
    assert list(document["patients"]["P001"]["bp_sys"])[:5] == CHALLENGE
    assert list(document["totals"]["bp_sys"])[:5] == CHALLENGE


@pytest.mark.gate
@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_the_table_fits_the_terminal(width: int, flawed: Path, workplace: Path, snapshot: SnapshotAssertion) -> None:
    for line in "stats demo -T -q", f"stats trial -s {flawed} -T -q --top 2 --now 2026-01-01":
        _, shown = on_a_plain_terminal(workplace, *line.split(), width=width)
        assert all(cell_len(text) <= width for text in shown.splitlines()), line
        assert shown.replace(str(flawed), "root") == snapshot(name=" ".join(line.split()[:2]))


def test_csv_has_a_row_for_each_patient_and_type_with_all_figures(command: RunCommand, flawed: Path) -> None:
    answer = command("stats", "trial", "-s", flawed, "--format", "csv").stdout
    document = json.loads(command("stats", "trial", "-s", flawed).stdout)
    rows = list(csv.DictReader(io.StringIO(answer)))
    assert list(rows[0])[:7] == ["patient_id", "event_type", *CHALLENGE]
    for row in rows:
        cell = document["patients"][row.pop("patient_id")][row.pop("event_type")]
        told = {name: "" if figure is None else str(figure) for name, figure in cell.items()}
        assert {name: figure for name, figure in row.items() if name in cell} == told
        assert not any(figure for name, figure in row.items() if name not in cell)
    assert len(rows) == 4


@pytest.mark.gate
def test_what_was_asked_for_stands_in_the_answer_and_verify_asks_for_it_again(
    command: RunCommand, flawed: Path, workplace: Path
) -> None:
    (workplace / "ranges.json").write_text('{"heart_rate": [40.5, null], "mood": [null, -1]}')
    asked = ("--ranges", "ranges.json", "--now", "2025-01-01T01:00:00+00:30", "--patient", "P2", "--patient", "P1")
    done = command("stats", "trial", "-s", flawed, *asked, "--suppress-below", "2", "-o", "trial.stats.json")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == "mockexport: left out: 1 pairs of patient and type with fewer than 2 records\n"
    document: dict[str, Any] = json.loads((workplace / "trial.stats.json").read_text())
    assert list(document["patients"]) == ["P1", "P2"]
    assert document["ranges"] == {"heart_rate": [40.5, None], "mood": [None, -1]}
    assert (document["now"], document["only"]) == ("2025-01-01T00:30:00Z", ["P1", "P2"])
    assert document["suppressed"] == {"below": 2, "cells": 1}
    assert document["all"]["future"] > 0
    assert list(document["totals"]) == ["heart_rate"]
    assert command("verify", "trial.stats.json", "-s", flawed).code == 0
    assert command("verify", "trial.stats.json", "-s", flawed, "--format", "csv").stdout.endswith(",match,,,,,\n")


def test_verify_says_which_figure_differs(command: RunCommand, workplace: Path, snapshot: SnapshotAssertion) -> None:
    document = json.loads((COMMITTED / "demo.stats.json").read_bytes())
    document["patients"]["P001"]["bp_sys"]["mean"] = 1.5
    document["totals"]["bp_dia"]["first"] = "2020-01-01T00:00:00Z"
    document["all"]["anomalies"] += 1
    document["all"]["future"] = 7  # of another time than that of this run: not compared
    del document["patients"]["P004"]
    (workplace / "demo.stats.json").write_text(json.dumps(document))
    for form in ("json", "table", "csv"):
        done = command("verify", "demo.stats.json", "--format", form)
        assert (done.code, done.stderr) == (1, "")
        assert done.stdout == snapshot(name=form)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"patients": 1}, '"patients" does not hold figures by patient and type'),
        ({"patients": {"P1": {"mood": {"mean": [1]}}}}, '"patients" does not hold figures by patient and type'),
        ({"totals": {"mood": 1}}, '"totals" does not hold figures by type'),
        ({"all": {"count": {}}}, '"all" does not hold figures'),
        ({"left_out": {"columns": "1"}}, '"left_out" does not hold numbers by reason'),
        ({"unassigned": {"Device": 1}}, '"unassigned" does not hold numbers by type and reason'),
        ({"suppressed": {"below": "10"}}, '"suppressed" does not hold numbers'),
        ({"only": "P1"}, '"only" does not hold patients'),
        ({"only": [1]}, '"only" does not hold patients'),
        ({"now": 1}, '"now" is 1, not a time'),
        ({"ranges": {"mood": 1}}, "in \"ranges\", the range of 'mood' is not [low, high], a list of two"),
    ],
)
def test_what_is_no_result_of_stats_is_one_line(
    changed: dict[str, Any], said: str, command: RunCommand, workplace: Path
) -> None:
    (workplace / "demo.stats.json").write_text(json.dumps({"all": {}, "patients": {}, "totals": {}} | changed))
    done = command("verify", "demo.stats.json")
    assert done.code == 6
    assert done.stderr == f"mockexport: demo.stats.json: it is not a result of stats: {said}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "ranges.json is not valid JSON: "),
        ("[]", 'ranges.json: ranges are an object such as {"heart_rate": [40, 180]}'),
        ('{"x": 1}', "ranges.json: the range of 'x' is not [low, high], a list of two"),
        ('{"x": [1, 2, 3]}', "ranges.json: the range of 'x' is not [low, high], a list of two"),
        ('{"x": [2, 1]}', "ranges.json: the range of 'x' is empty: 2 is more than 1"),
        ('{"x": ["1", 2]}', "ranges.json: the range of 'x' has '1', which is neither a number nor null"),
        ('{"x": [true, 2]}', "ranges.json: the range of 'x' has True, which is neither a number nor null"),
        (None, "ranges.json cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_of_ranges_is_one_line(text: str | None, said: str, command: RunCommand, workplace: Path) -> None:
    if text is not None:
        (workplace / "ranges.json").write_text(text)
    done = command("stats", "demo", "--ranges", "ranges.json")
    assert (done.code, done.stdout) == (3 if text is None else 2, "")
    assert done.stderr.startswith(f"mockexport: error: --ranges {said}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--now", "noon"], 2, "--now 'noon' is not a time such as 2026-01-31T12:00:00Z"),
        (["--memory", "lots"], 2, "--memory 'lots' is not a size of at least 1MB, such as 256MB or 2GB"),
        (["--memory", "999KB"], 2, "--memory '999KB' is not a size"),
        (["--top", "3"], 2, "--top applies to tables"),
        (["--patient", "P01"], 3, "no patient 'P01' in export 'demo'; did you mean 'P001'?"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], code: int, said: str, command: RunCommand) -> None:
    done = command("stats", "demo", *options)
    assert (done.code, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_columns_of_other_names_are_named_by_options(command: RunCommand, workplace: Path) -> None:
    (workplace / "visits.csv").write_text("id;at;code;reading\nP;2025-01-01;x;5\nP;2025-01-02;x;7\n")
    done = command("stats", "-s", "visits.csv")
    assert done.code == 6
    assert "--patient-column, --time-column, --type-column and --value-column name the columns" in done.stderr
    names = ("--patient-column", "id", "--time-column", "at", "--type-column", "code", "--value-column", "reading")
    done = command("stats", "-s", "visits.csv", *names)
    figures = json.loads(done.stdout)["patients"]["P"]["x"]
    assert (figures["mean"], figures["latency"]) == (6.0, 86400.0)


@pytest.mark.gate
def test_skipped_rows_are_counted_and_said(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "trial", day=HEADER + "P,2025-01-01,x,5\nP,2025-01-01,x\n")
    assert command("stats", "trial", "-s", "root").code == 6
    done = command("stats", "trial", "-s", "root", "--on-malformed", "skip", "-o", "trial.stats.json")
    assert done.stderr == "mockexport: skipped 1 malformed rows: too few fields 1\n"
    assert json.loads((workplace / "trial.stats.json").read_text())["left_out"] == {"too few fields": 1}
    assert command("verify", "trial.stats.json", "-s", "root").code == 0


def test_sorting_is_told_with_verbose(command: RunCommand, flawed: Path) -> None:
    assert command("stats", "trial", "-s", flawed).stderr == ""
    told = command("stats", "trial", "-s", flawed, "-v").stderr
    assert "3 pairs of patient and type are not in the order of time: reading 1 downloads again" in told
