"""What the commands answer, in each form, byte for byte."""

from __future__ import annotations

import csv
import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import write_export

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion
    from tests.cli.conftest import RunCommand

pytestmark = pytest.mark.kernel

COMMITTED = Path(__file__).parents[2] / "outputs"
HEADER = "patient_id,event_time,event_type,value\n"
ROWS = "A,2025-01-01T00:00:00Z,heart_rate,60\nB,2025-01-01T00:01:00Z,spo2,97\nA,2025-01-01T00:02:00Z,heart_rate,61\n"


@pytest.mark.parametrize("form", ["json", "table", "csv"])
@pytest.mark.parametrize(
    "line", ["exports list", "downloads list demo", "count demo", "verify demo.json", "verify wrong.json"]
)
def test_answers_are_what_people_and_programs_read(
    line: str, form: str, command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    document = json.loads((COMMITTED / "demo.json").read_bytes())
    if "wrong" in line:
        document["patients"]["P001"]["bp_sys"] += 1
        del document["patients"]["P004"]
    (workplace / "demo.json").write_text(json.dumps(document))
    answer = command(*line.replace("wrong", "demo").split(), "--format", form)
    assert answer.code == (1 if "wrong" in line else 0)
    assert answer.stderr == ""
    assert answer.stdout == snapshot


@pytest.mark.gate
def test_fetch_answers_with_files_and_checksums(
    command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    for form in ("json", "table", "csv"):
        answer = command("downloads", "fetch", "demo", "--dir", "kept", "--format", form)
        assert answer.code == 0
        assert answer.stdout == snapshot(name=form)
    assert sorted(path.name for path in (workplace / "kept" / "demo").iterdir()) == snapshot(name="files")


def test_a_plain_folder_declares_nothing_and_is_counted_all_the_same(
    command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    write_export(workplace / "root", "trial", day1=HEADER + ROWS, day2=HEADER + ROWS)
    for line in ("exports list", "downloads list trial", "count trial"):
        answer = command(*line.split(), "--source", "root")
        assert answer.code == 0
        assert answer.stdout == snapshot(name=line)


def test_the_answer_in_a_file_is_the_answer_on_stdout(command: RunCommand, workplace: Path) -> None:
    shown = command("count", "demo")
    written = command("count", "demo", "--output", "demo.json")
    dash = command("count", "demo", "-o", "-")
    assert (shown.code, written.code, dash.code) == (0, 0, 0)
    assert written.stdout == ""
    assert (workplace / "demo.json").read_text() == shown.stdout == dash.stdout
    assert sorted(path.name for path in workplace.iterdir()) == ["demo.json"]


def test_demo_is_counted_when_no_export_is_named(command: RunCommand) -> None:
    assert command("count") == command("count", "demo")


@pytest.mark.parametrize("form", ["json", "table", "csv"])
def test_time_is_a_line_on_stderr_and_the_answer_is_the_same(command: RunCommand, form: str) -> None:
    timed = command("count", "--time", "-q", "--format", form)
    assert re.fullmatch(r"mockexport: elapsed: \d+\.\d{3} s\n", timed.stderr)
    assert timed.stdout == command("count", "--format", form).stdout


def test_verbose_says_on_stderr_what_runs_and_how_fast(command: RunCommand) -> None:
    shown = command("count", "--verbose")
    assert "kernels" in shown.stderr
    assert "18,784 rows" in shown.stderr
    assert shown.stdout == command("count").stdout


def test_skip_leaves_malformed_rows_out_and_says_how_many_of_each_kind(
    command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    bad = 'A,2025-01-01T00:00:00Z,heart_rate\nA,2025-01-01T00:00:00Z,"heart_rate"x,1\n,2025-01-01T00:00:00Z,spo2,97\n'
    write_export(workplace / "root", "trial", day=HEADER + ROWS + bad + ROWS)
    answer = command("count", "trial", "-s", "root", "--on-malformed", "skip")
    assert answer.code == 0
    assert answer.stderr == snapshot(name="stderr")
    assert answer.stdout == snapshot(name="stdout")


@pytest.mark.parametrize("form", ["json", "table", "csv"])
def test_no_form_is_silent_about_rows_left_out_even_when_quiet(command: RunCommand, workplace: Path, form: str) -> None:
    write_export(workplace / "root", "trial", day=HEADER + ROWS + "A,2025-01-01T00:00:00Z,heart_rate\n")
    quiet = command("count", "trial", "-s", "root", "--on-malformed", "skip", "--quiet", "--format", form)
    assert quiet.code == 0
    if form == "csv":  # its rows are records, so it is said beside them
        assert list(csv.reader(quiet.stdout.splitlines()))[1:] == [["A", "heart_rate", "2"], ["B", "spo2", "1"]]
        assert quiet.stderr == "mockexport: skipped 1 malformed rows: too few fields 1\n"
    else:
        assert "too few fields" in quiet.stdout
        assert quiet.stderr == ""


@pytest.mark.gate
@pytest.mark.parametrize("form", ["json", "table", "csv"])
def test_verify_leaves_out_again_what_was_left_out_and_compares_how_many(
    command: RunCommand, workplace: Path, form: str, snapshot: SnapshotAssertion
) -> None:
    bad = "A,2025-01-01T00:00:00Z,heart_rate\n"
    root = write_export(workplace / "root", "trial", day=HEADER + ROWS + bad)
    assert command("count", "trial", "-s", "root", "--on-malformed", "skip", "-o", "trial.json").code == 0
    assert command("verify", "trial.json", "-s", "root").code == 0
    (root / "trial" / "day.csv").write_text(HEADER + ROWS + bad + bad)
    answer = command("verify", "trial.json", "-s", "root", "--format", form)
    assert (answer.code, answer.stderr) == (1, "")
    assert answer.stdout == snapshot


def test_verify_does_not_advise_to_skip_rows_which_it_cannot(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "trial", a="patient_id,event_time,event_type,value\nA,t\n")
    (workplace / "trial.json").write_text('{"patients": {}, "totals": {}}')
    done = command("verify", "trial.json", "-s", "root")
    assert done.code == 6
    assert done.stderr.endswith("is malformed at line 2: too few fields\n")


def test_a_file_of_any_name_is_verified_as_the_export_that_is_named(command: RunCommand, workplace: Path) -> None:
    assert command("count", "demo", "-o", "out.json").code == 0
    unnamed = command("verify", "out.json", "-q")
    assert unnamed.code == 3
    assert "no export 'out' in source 'mock'" in unnamed.stdout
    assert "--export names the export" in unnamed.stdout
    named = command("verify", "out.json", "--export", "demo")
    assert (named.code, json.loads(named.stdout)["results"][0]["export"]) == (0, "demo")
    unknown = command("verify", "out.json", "--export", "demmo")
    assert unknown.code == 3
    assert "--export" not in unknown.stderr
    (workplace / "other.json").write_bytes((workplace / "out.json").read_bytes())
    several = command("verify", ".", "--export", "demo")
    assert (several.code, several.stdout, several.stderr.count("\n")) == (2, "", 1)
    assert "there are 2 files" in several.stderr


def test_the_environment_names_the_source_and_an_option_wins_over_it(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "trial", day=HEADER + ROWS)
    assert command("count", "trial", MOCKEXPORT_SOURCE="root").code == 0
    assert command("count", "demo", "--source", "mock", MOCKEXPORT_SOURCE="root").code == 0
    assert command("count", "demo", MOCKEXPORT_SOURCE="root").code == 3


def test_an_answer_replaces_a_file_and_keeps_its_permissions(command: RunCommand, workplace: Path) -> None:
    path = workplace / "demo.json"
    path.write_text("before")
    path.chmod(0o640)
    assert command("count", "-o", path).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert json.loads(path.read_bytes())["totals"] == {"bp_dia": 9372, "bp_sys": 9412}


@pytest.mark.gate
def test_the_kernels_are_chosen_by_the_environment(command: RunCommand) -> None:
    assert command("--version", MOCKEXPORT_KERNEL="pure").stdout.rstrip().endswith("pure kernels")
    assert command("count", MOCKEXPORT_KERNEL="pure").stdout == command("count").stdout


def test_export_ids_are_completed(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "trial", day=HEADER)
    complete = {"_MOCKEXPORT_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    assert command(COMP_WORDS="mockexport count ", **complete).stdout.split() == ["demo", "small", "large"]
    assert command(COMP_WORDS="mockexport count s", **complete).stdout.split() == ["small"]
    there = command(COMP_WORDS="mockexport count ", MOCKEXPORT_SOURCE="root", **complete)
    assert there.stdout.split() == ["trial"]
    nowhere = command(COMP_WORDS="mockexport count ", MOCKEXPORT_SOURCE="nowhere", **complete)
    assert (nowhere.stdout.split(), nowhere.stderr) == ([], "")
