"""What goes wrong is one line on stderr and the right exit code; nothing on stdout, nothing half-written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import write_export
from tests.pairing import by_default
from tests.scripted_http import ScriptedServer, http

if TYPE_CHECKING:
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion
    from tests.cli.conftest import RunCommand

HEADER = "patient_id,event_time,event_type,value\n"
ROW = "A,2025-01-01T00:00:00Z,heart_rate,60\n"

USAGE = {
    "unknown command": "cuont",
    "unknown subcommand": "exports lst",
    "unknown option": "count --fromat csv",
    "unknown form": "count --format xml",
    "misspelt form": "count --format=tabel",
    "form in capitals": "count --format JSON",
    "misspelt choice": "count --on-malformed skp",
    "misspelt form of another command": "heartrate query ann --start 2025-01-01 --end 2025-01-02 --format cart",
    "no folder to fetch to": "downloads fetch demo",
    "no number of jobs": "count --jobs 0",
    "word for a number": "count --jobs many",
    "option without its value": "count --jobs",
    "short option without its value": "exports list -s",
    "option without its value in a group": "heartrate query ann --start",
    "value for a flag": "downloads list --quiet=yes",
    "unknown option before a command": "--fast count",
    "word behind a short option": "count -jmany",
    "word behind several short options": "count -tjmany",
    "word for a number that has no upper limit": "count --timeout soon",
    "one argument too many": "count demo small",
    "misspelt fault": "serve --faults data:ct=100",
    "misspelt route of a fault": "serve --faults dta:cut=100",
    "misspelt option of a fault": "serve --faults data:cut=100,tims=2",
    "misspelt place of a fault": "serve --faults data:cut=100,where=insde",
    "help of an unknown command": "help cuont",
    "address without http": "heartrate send -s localhost:8000",
    "start after end": "heartrate query ann --start 2025-08-27 --end 2025-08-26 -s http://127.0.0.1:9",
    "another kind of URL": "count -s ftp://example.org",
    "URL without a host": "count -s http://",
    "password in a URL": "count -s http://user:secret@127.0.0.1:1",
    "output in no folder": "count -o nowhere/demo.json",
    "output is a folder": "count -o .",
}
NOT_FOUND = {
    "unknown export": "count demmo",
    "unknown export of a listing": "downloads list nothing",
    "no folder": "count -s nowhere",
    "address and port": "count -s localhost:8000",
    "number, port and path": "count -s 127.0.0.1:8000/exports",
    "nothing committed": "verify",
    "no such file": "verify nothing.json",
    "no such export in a folder": "count demo -s root",
}
BAD: dict[str, str | bytes] = {
    "too few fields": HEADER + ROW + "A,2025-01-01T00:00:00Z,heart_rate\n",
    "too many fields": HEADER + ROW + "A,2025-01-01T00:00:00Z,heart_rate,60,1\n",
    "bad quote": HEADER + ROW + '"A"x,2025-01-01T00:00:00Z,heart_rate,60\n',
    "open quote": HEADER + ROW + '"A,2025-01-01T00:00:00Z,heart_rate,60\n' + ROW,
    "empty patient": HEADER + ROW + ",2025-01-01T00:00:00Z,heart_rate,60\n",
    "empty type": HEADER + ROW + "A,2025-01-01T00:00:00Z,,60\n",
    "not UTF-8": (HEADER + ROW).encode() + b"\xff,2025-01-01T00:00:00Z,heart_rate,60\n",
    "missing column": "patient_id,event_time,value\n",
    "doubled column": "patient_id,event_time,event_type,value,value\n",
    "empty body": "",
    "only empty lines": "\r\n\n",
}


@pytest.mark.gate
@pytest.mark.parametrize("case", USAGE)
def test_a_request_that_makes_no_sense_ends_with_2(case: str, command: RunCommand, snapshot: SnapshotAssertion) -> None:
    ended = command(*USAGE[case].split())
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr
    assert ended.stderr == snapshot


@pytest.mark.parametrize(
    "case", ["word for a number", "no number of jobs", "misspelt form", "word behind a short option"]
)
def test_a_wrong_value_is_described_in_our_own_words(case: str, command: RunCommand) -> None:
    """Typer's words depend on its version, and those of some are pydantic's."""
    told = command(*USAGE[case].split()).stderr
    assert " takes " in told
    assert not [word for word in ("Input should", "Value error", "pydantic", "int range") if word in told]


@pytest.mark.parametrize("case", NOT_FOUND)
def test_what_is_not_there_ends_with_3(
    case: str, command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    write_export(workplace / "root", "trial", day=HEADER + ROW)
    ended = command(*NOT_FOUND[case].split())
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr == snapshot


@pytest.mark.gate
def test_a_server_that_is_not_there_ends_with_5(command: RunCommand) -> None:
    ended = command("count", "-s", "http://127.0.0.1:9", "--retries", "1")
    assert (ended.code, ended.stdout) == (5, "")
    assert ended.stderr.count("\n") == 1
    assert "http://127.0.0.1:9" in ended.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("case", BAD)
def test_bad_data_ends_with_6_naming_download_and_line(
    case: str, command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    write_export(workplace / "root", "trial", good=HEADER + ROW, bad=BAD[case])
    ended = command("count", "trial", "-s", "root", "-o", "answer.json")
    assert (ended.code, ended.stdout) == (6, "")
    assert ended.stderr.count("\n") == 1
    assert "'bad'" in ended.stderr
    assert "line " in ended.stderr
    assert ended.stderr == snapshot
    assert [path.name for path in workplace.iterdir()] == ["root"]


@pytest.mark.parametrize(
    "case",
    by_default(["missing column", "doubled column", "empty body", "only empty lines"], "missing column", "empty body"),
)
def test_a_body_without_a_sound_header_ends_with_6_even_when_rows_are_skipped(
    case: str, command: RunCommand, workplace: Path
) -> None:
    write_export(workplace / "root", "trial", bad=BAD[case])
    assert command("count", "trial", "-s", "root", "--on-malformed", "skip").code == 6


def test_other_rows_than_declared_end_with_6_and_both_figures(command: RunCommand, workplace: Path) -> None:
    assert command("downloads", "fetch", "demo", "--dir", "root").code == 0
    manifest = workplace / "root" / "demo" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("9014", "9015"))
    ended = command("count", "demo", "-s", "root")
    assert (ended.code, ended.stdout) == (6, "")
    assert "9,015" in ended.stderr
    assert "9,014" in ended.stderr


def test_verify_tells_of_every_file_and_ends_with_the_first_error(
    command: RunCommand, workplace: Path, snapshot: SnapshotAssertion
) -> None:
    (workplace / "outputs").mkdir()
    assert command("count", "-o", "outputs/demo.json").code == 0
    (workplace / "outputs" / "broken.json").write_text("{")
    (workplace / "outputs" / "demmo.json").write_text('{"patients":{},"totals":{}}')
    (workplace / "outputs" / "list.json").write_text("[]")
    ended = command("verify")
    assert ended.code == 6
    assert ended.stdout == snapshot(name="stdout")
    assert ended.stderr == snapshot(name="stderr")


VARIABLES = {
    "MOCKEXPORT_SOURCE": ("nowhere", "localhost:8000", "ftp://host", "http://user:secret@host", "http://127.0.0.1:9"),
    "MOCKEXPORT_TOKEN_FILE": ("nowhere", "."),
    "MOCKEXPORT_SCHEDULER": ("host", "tcp://127.0.0.1:9"),
    "MOCKEXPORT_KERNEL": ("nativ",),
    "MOCKEXPORT_FORMAT": ("tabel",),
}
OPTION_FOR = {
    "MOCKEXPORT_SOURCE": "--source",
    "MOCKEXPORT_TOKEN_FILE": "--token-file",
    "MOCKEXPORT_SCHEDULER": "--scheduler",
}


@pytest.mark.gate
@pytest.mark.parametrize(
    ("variable", "value"), [(name, value) for name, values in VARIABLES.items() for value in values]
)
def test_a_wrong_value_from_a_variable_is_told_with_its_name(variable: str, value: str, command: RunCommand) -> None:
    ended = command("count", "--retries", 0, "--timeout", 1, **{variable: value})
    assert ended.code in (2, 3, 5)
    assert ended.stderr.count("\n") == ended.stderr.count(variable) == 1
    assert "secret" not in ended.stderr
    if option := OPTION_FOR.get(variable):
        given = command("count", "--retries", 0, "--timeout", 1, option, value, **{variable: value})
        assert given.code == ended.code
        assert variable not in given.stderr


def test_an_export_that_the_source_of_a_variable_lacks_is_told_with_its_name(
    command: RunCommand, workplace: Path
) -> None:
    write_export(workplace / "root", "trial", day=HEADER + ROW)
    told = command("count", "trail", MOCKEXPORT_SOURCE="root").stderr
    assert told == "mockexport: error: MOCKEXPORT_SOURCE: no export 'trail' in root; did you mean 'trial'?\n"


def test_an_error_that_is_not_about_a_variable_does_not_name_it(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "trial", day=HEADER + ROW)
    assert "MOCKEXPORT" not in command("count", "trial", "-o", "no/where", MOCKEXPORT_SOURCE="root").stderr
    assert "MOCKEXPORT" not in command("count", "trail").stderr
    assert "MOCKEXPORT" not in command("verify", "nothing.json", MOCKEXPORT_SOURCE="root").stderr


def test_a_server_of_a_variable_that_is_not_there_is_told_with_its_name_when_readings_are_sent(
    command: RunCommand,
) -> None:
    ended = command("heartrate", "send", "--timeout", 0.2, MOCKEXPORT_SOURCE="http://127.0.0.1:9")
    assert ended.code == 5
    assert ended.stderr.startswith("mockexport: error: MOCKEXPORT_SOURCE: http://127.0.0.1:9/")


def test_a_server_that_no_variable_names_is_told_without_one(command: RunCommand) -> None:
    asked = ("heartrate", "query", "nobody", "--start", "2025-01-01", "--end", "2025-01-02", "--retries", 0)
    ended = command(*asked, MOCKEXPORT_SOURCE="a-folder")  # it goes by the default URL, where there may be a server
    assert ended.code
    assert "http://127.0.0.1:8000" in ended.stderr
    assert "MOCKEXPORT" not in ended.stderr


@pytest.mark.gate
@pytest.mark.parametrize(
    ("variable", "value"), [("MOCKEXPORT_SOURCE", "http://127.0.0.1:9"), ("MOCKEXPORT_SCHEDULER", "host")]
)
def test_verify_tells_the_variable_that_a_wrong_value_comes_from(
    variable: str, value: str, command: RunCommand, workplace: Path
) -> None:
    (workplace / "demo.json").write_text('{"patients": {}, "totals": {}}')
    ended = command("verify", "demo.json", "--retries", 0, **{variable: value})
    assert ended.code in (2, 5)
    assert ended.stderr.startswith(f"mockexport: demo.json: {variable}: ")
    assert ended.stderr.count("\n") == ended.stderr.count(variable) == 1
    option = OPTION_FOR[variable]
    assert variable not in command("verify", "demo.json", "--retries", 0, option, value, **{variable: value}).stderr


@pytest.mark.gate
@pytest.mark.parametrize(
    "arguments",
    ["count demo", "verify demo.json", "exports list", "heartrate send"],
)
def test_a_token_of_a_variable_that_a_server_refuses_is_told_with_its_name(
    arguments: str, command: RunCommand, workplace: Path, http_server: ScriptedServer
) -> None:
    (workplace / "token").write_text("wrong")
    (workplace / "demo.json").write_text('{"patients": {}, "totals": {}}')
    http_server.answers |= dict.fromkeys(("/api/export", "/api/export/demo", "/health"), http(status=401))
    variables = {"MOCKEXPORT_SOURCE": http_server.url, "MOCKEXPORT_TOKEN_FILE": "token"}
    ended = command(*arguments.split(), **variables)
    assert ended.code == 4
    assert f": MOCKEXPORT_TOKEN_FILE: {http_server.url}/" in ended.stderr
    assert ended.stderr.count("MOCKEXPORT_") == 1
    given = command(*arguments.split(), "--token-file", "token", "-s", http_server.url, **variables)
    assert (given.code, "MOCKEXPORT_" in given.stderr) == (4, False)


def test_a_wanted_kernel_that_is_none_ends_with_2(command: RunCommand) -> None:
    ended = command("count", MOCKEXPORT_KERNEL="fast")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    version = command("--version", MOCKEXPORT_KERNEL="fast")
    assert (version.code, version.stdout, version.stderr) == (2, "", ended.stderr)


def test_verbose_adds_the_traceback_and_keeps_the_line(command: RunCommand) -> None:
    short, long = command("count", "demmo"), command("count", "demmo", "--verbose")
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr
    assert short.stderr in long.stderr


@pytest.mark.parametrize(
    "options",
    by_default(
        ["-v", "-tv", "-vt", "-tqv", "-t -v", "-vs mock", "-tvs mock", "--verbose -t"],
        *("-v", "-tqv", "-tvs mock", "--verbose -t"),
    ),
)
def test_verbose_adds_the_traceback_in_whatever_way_it_is_written(command: RunCommand, options: str) -> None:
    before, behind = command("count", *options.split(), "demmo"), command("count", "demmo", *options.split())
    assert (before.code, behind.code) == (3, 3)
    assert before.stderr.count("Traceback") == behind.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    "arguments",
    by_default(
        ["count -s -v", "count -o -v/x", "count -- -v", "exports list -s --verbose"], "count -s -v", "count -- -v"
    ),
)
def test_what_only_looks_like_verbose_adds_no_traceback(command: RunCommand, arguments: str) -> None:
    ended = command(*arguments.split())
    assert ended.code in (2, 3)
    assert "Traceback" not in ended.stderr


def test_names_from_elsewhere_cannot_steer_the_terminal(command: RunCommand, workplace: Path) -> None:
    write_export(workplace / "root", "tri\x1b[31mal", day=HEADER)
    ended = command("count", "nothing", "-s", "root")
    assert ended.code == 3
    assert "\x1b" not in ended.stderr


@pytest.mark.gate
@pytest.mark.parametrize("arguments", ["count trial", "verify trial.json", "downloads fetch trial --dir fetched"])
def test_more_distinct_pairs_than_allowed_end_with_6_and_say_so(
    workplace: Path, command: RunCommand, arguments: str
) -> None:
    body = HEADER + ROW + ROW.replace("A", "B") + ROW.replace("A", "C")
    write_export(workplace / "root", "trial", a=body)
    (workplace / "trial.json").write_text('{"patients": {}, "totals": {}}')
    ended = command(*arguments.split(), "-s", "root", "--max-pairs", "2")
    assert ended.code == 6
    assert "line 4: more than 2 distinct pairs of patient and type; --max-pairs N raises the limit" in ended.stderr
    assert command(*arguments.split(), "-s", "root", "--max-pairs", "3").code in (0, 1)
