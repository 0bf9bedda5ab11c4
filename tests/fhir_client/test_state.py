"""The command line and the state that it keeps: what is told, which exit code, and how often an export is begun."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.cli.conftest import COMMAND
from tests.commands import run_command, started, wait_while_running
from tests.fhir_client.scripted_fhir import Answer, Asked, busy, outcome, patients
from tests.terminals import OnTerminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Ended
    from tests.fhir_client.scripted_fhir import ScriptedFhir

DELETE = "DELETE /fhir/jobs/1"
STATUS = "GET /fhir/jobs/1"
FILE = "GET /fhir/files/2"
FIVE = {"totals": {"Patient": 5}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def run(folder: Path, server: ScriptedFhir, *arguments: object) -> Ended:
    return run_command(folder, *arguments, "-s", f"fhir+{server.url}", "--retries", "0")


def counts(ended: Ended) -> Any:
    assert ended.code == 0, ended.stderr
    return {"totals": orjson.loads(ended.stdout)["totals"]}


def one_line(ended: Ended, code: int) -> str:
    """What a command that failed has told: an error in one line, and that alone."""
    assert (ended.code, ended.stdout) == (code, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("mockexport: error: ")
    return line


def test_without_a_state_the_export_is_deleted_at_the_end(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    assert counts(run(folder, server, "count", "system")) == FIVE
    assert (server.kick_offs, server.count(DELETE)) == (1, 1)
    assert server.asked[-1].what == DELETE
    assert not list(folder.iterdir())


def test_without_a_state_the_export_is_deleted_after_an_error(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    server.on(FILE, Answer(body=b"what is this\n"))
    assert "what is this" not in one_line(run(folder, server, "count", "system"), 6)
    assert server.count(DELETE) == 1


def test_with_a_state_an_error_leaves_the_export_which_the_next_run_finishes(
    folder: Path, server: ScriptedFhir
) -> None:
    server.export()
    good = Answer(body=b"\n".join(b'{"resourceType":"Patient","id":"q%d"}' % n for n in (4, 5)))
    server.on(FILE, Answer(503), good)
    broken = run(folder, server, "count", "system", "--state", "job", "-j", "1")
    assert (broken.code, broken.stdout) == (5, "")
    assert "1 downloads are saved in job.counts" in broken.stderr
    assert "the export is kept on the server; run the same command again to go on with it" in broken.stderr
    assert server.count(DELETE) == 0

    assert counts(run(folder, server, "count", "system", "--state", "job")) == FIVE
    assert (server.kick_offs, server.count(STATUS), server.count("GET /fhir/files/1")) == (1, 1, 1)
    assert server.count(DELETE) == 1


@pytest.mark.gate
def test_a_state_that_has_ended_says_so_and_restart_begins_another_export(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    assert counts(run(folder, server, "count", "system", "--state", "job")) == FIVE
    again = one_line(run(folder, server, "count", "system", "--state", "job"), 3)
    assert again.endswith("has ended, and the server was told to delete it; --restart begins another one")
    assert server.kick_offs == 1
    assert counts(run(folder, server, "count", "system", "--state", "job", "--restart")) == FIVE
    assert server.kick_offs == 2


def test_restart_deletes_the_export_before(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    assert run(folder, server, "exports", "start", "system", "--state", "job").code == 0
    assert counts(run(folder, server, "count", "system", "--state", "job", "--restart")) == FIVE
    assert [asked.what for asked in server.asked][:3] == ["GET /fhir/$export", DELETE, "GET /fhir/$export"]


def test_what_a_run_that_was_killed_left_of_writing_the_state_is_removed(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    (folder / ".job.0123456789abcdef.tmp").write_bytes(b"{")
    assert counts(run(folder, server, "count", "system", "--state", "job")) == FIVE
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.gate
def test_another_export_at_the_same_url_takes_nothing_from_the_one_before(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    server.on(FILE, Answer(500))
    broken = run(folder, server, "count", "system", "--state", "job", "-j", "1")
    assert "1 downloads are saved in job.counts" in broken.stderr
    server.export([patients(11, 13), patients(14, 15)])
    done = run(folder, server, "count", "system", "--state", "job", "--restart")
    assert list(orjson.loads(done.stdout)["patients"]) == [f"p{n}" for n in range(11, 16)]


@pytest.mark.gate
def test_the_steps_apart_are_start_status_list_count(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    asked = ("--type", "Patient", "--state", "job")
    begun = run(folder, server, "exports", "start", "system", *asked)
    assert orjson.loads(begun.stdout) == [{"export": "system", "status_url": server.status_url}]
    assert run(folder, server, "exports", "start", "system", *asked).stdout == begun.stdout
    (status,) = orjson.loads(run(folder, server, "exports", "status", "system", "--state", "job").stdout)
    assert (status["id"], status["downloads"], status["rows"]) == ("system", 2, 5)
    listed = orjson.loads(run(folder, server, "downloads", "list", "system", "--state", "job").stdout)
    assert [(download["id"], download["rows"]) for download in listed] == [("1.Patient", 3), ("2.Patient", 2)]
    assert server.count(DELETE) == 0
    assert counts(run(folder, server, "count", "system", *asked)) == FIVE
    assert (server.kick_offs, server.count(DELETE)) == (1, 1)


@pytest.mark.gate
def test_two_runs_with_one_state_begin_one_export(folder: Path, server: ScriptedFhir) -> None:
    arrived, go_on = threading.Event(), threading.Event()
    server.export()

    def slowly(_: Asked) -> Answer:
        arrived.set()
        assert go_on.wait(60)
        return server.begun()

    server.on("GET /fhir/$export", slowly)
    command = ("exports", "start", "system", "-s", f"fhir+{server.url}", "--state", "job")
    with started(folder, *command) as first:
        wait_while_running(first, arrived.is_set)
        second = run(folder, server, "exports", "start", "system", "--state", "job")
        go_on.set()
        assert first.wait(60) == 0
    assert "another run is beginning the export in the state job; wait for it" in one_line(second, 2)
    assert server.kick_offs == 1
    assert [path.name for path in folder.iterdir()] == ["job"]


def test_cancel_deletes_the_export_in_the_state(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    server.on(STATUS, busy())
    run(folder, server, "exports", "start", "system", "--type", "Patient", "--state", "job")
    done = run(folder, server, "exports", "cancel", "system", "--state", "job")
    assert (done.code, done.stdout) == (0, ""), done.stderr
    assert "the server was told to delete export system" in done.stderr
    assert server.count(DELETE) == 1
    one_line(run(folder, server, "exports", "cancel", "system", "--state", "job"), 3)


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (("exports", "status", "system"), 3, "no export 'system' was begun"),
        (("exports", "status", "system", "--state", "job"), 3, "no export 'system' was begun"),
        (("exports", "cancel", "system"), 3, "no export 'system' is known"),
        (("downloads", "list", "system"), 2, "mockexport exports start"),
        (("count",), 2, "name an export: system, patient or group/ID"),
        (("count", "nonsense"), 3, "it has system, patient and group/ID"),
    ],
)
def test_what_begins_no_export_says_what_would(
    folder: Path, server: ScriptedFhir, command: tuple[str, ...], code: int, told: str
) -> None:
    assert told in one_line(run(folder, server, *command), code)
    assert server.asked == []


KICK_OFF = "http://ehr.example/fhir/$export"


@pytest.mark.gate
@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        (b"", 6, "job is not the state of an export"),
        (b"\xff\x00", 6, "job is not the state of an export"),
        (b'{"mockexport_export_state": 1, "kick_off": "x"', 6, "job is not the state of an export"),
        (b'{"mockexport_export_state": 2, "kick_off": "x"}', 6, "job is not the state of an export of this version"),
        (b'{"output": []}', 6, "job is not the state of an export"),
        (b'{"mockexport_export_state": 1}', 6, "the state job is damaged"),
        (b'{"mockexport_export_state": 1, "kick_off": "x", "status_url": 7}', 6, "the state job is damaged"),
        (
            orjson.dumps({"mockexport_export_state": 1, "kick_off": KICK_OFF, "sent": True}),
            2,
            f"the state job belongs to {KICK_OFF}; choose another file",
        ),
    ],
)
@pytest.mark.parametrize("restart", [(), ("--restart",)], ids=["", "restart"])
def test_a_state_that_is_damaged_or_of_another_export_is_one_line_and_stays_as_it_is(
    folder: Path, server: ScriptedFhir, content: bytes, code: int, told: str, restart: tuple[str, ...]
) -> None:
    server.export()
    (folder / "job").write_bytes(content)
    assert told in one_line(run(folder, server, "count", "system", "--state", "job", *restart), code)
    assert (folder / "job").read_bytes() == content
    assert server.asked == []


@pytest.mark.gate
def test_a_state_of_other_parameters_is_another_export(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    run(folder, server, "exports", "start", "system", "--type", "Patient", "--state", "job")
    line = one_line(run(folder, server, "count", "system", "--state", "job"), 2)
    assert line.endswith(f"belongs to {server.url}/$export?_type=Patient; choose another file")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("folder", "--state folder is a folder; specify a file in it"),
        ("missing/job", "--state missing/job: the folder missing does not exist"),
        ("file/job", "--state file/job"),
    ],
)
def test_a_state_that_cannot_be_kept_is_one_line_before_anything_is_begun(
    folder: Path, server: ScriptedFhir, path: str, told: str
) -> None:
    server.export()
    (folder / "folder").mkdir()
    (folder / "file").touch()
    assert told in one_line(run(folder, server, "count", "system", "--state", path), 2)
    assert server.asked == []


@pytest.mark.gate
def test_errors_of_the_server_are_exit_6_and_allow_partial_takes_what_there_is(
    folder: Path, server: ScriptedFhir
) -> None:
    server.export(error=[{"type": "OperationOutcome", "url": f"{server.url}/errors"}])
    lost = outcome(200, {"severity": "error", "code": "exception", "diagnostics": "lost\n99%"})
    server.on("GET /fhir/errors", lost)
    line = one_line(run(folder, server, "count", "system"), 6)
    assert line.endswith("everything: 1 error exception; lost 99%; --allow-partial takes what there is")
    taken = run(folder, server, "count", "system", "--allow-partial")
    assert counts(taken) == FIVE
    assert "the server says of the export: 1 error exception; lost 99%" in taken.stderr


@pytest.mark.gate
@pytest.mark.parametrize("state", [(), ("--state", "job")], ids=["deleted", "kept"])
@pytest.mark.parametrize("where", ["waiting", "reading"])
def test_ctrl_c_deletes_the_export_unless_a_state_is_kept(
    folder: Path, server: ScriptedFhir, where: str, state: tuple[str, ...]
) -> None:
    server.export()
    arrived, released = threading.Event(), threading.Event()

    def stall(_: Asked) -> Answer:
        arrived.set()
        released.wait(30)
        return Answer(500)

    if where == "waiting":
        server.on(STATUS, busy(after="0"), busy(after="3600", X_Progress="5%"))
    else:
        server.on(FILE, stall)
    arguments = ("count", "system", *state, "-s", f"fhir+{server.url}", "-j", "1")
    with started(folder, *arguments) as process:
        wait_while_running(process, lambda: server.count(STATUS) == 2 or arrived.is_set())
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
        released.set()
    assert (process.returncode, stdout) == (130, ""), stderr
    assert server.count(DELETE) == (0 if state else 1)
    assert ("the export is kept on the server" in stderr) == bool(state)

    if state:
        server.on(STATUS, server.manifest_answer)
        server.on(FILE, Answer(body=b'{"resourceType":"Patient","id":"p4"}\n{"resourceType":"Patient","id":"p5"}\n'))
        assert counts(run(folder, server, "count", "system", *state)) == FIVE
        assert server.kick_offs == 1


@pytest.mark.gate
def test_the_progress_that_the_server_tells_is_shown_on_the_terminal(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    seen = threading.Event()
    shown = busy(X_Progress="17% of 3 files")

    def status(_: Asked) -> Answer:
        seen.wait(0.05)  # between two looks, as a server would have it
        return server.manifest_answer if seen.is_set() else shown

    server.on(STATUS, status)
    with OnTerminal([COMMAND, "count", "system", "-s", f"fhir+{server.url}"], folder) as terminal:
        terminal.wait_for("waiting for system: 17% of 3 files")
        seen.set()
        assert terminal.end() == 0


def test_listing_exports_begins_none(folder: Path, server: ScriptedFhir) -> None:
    server.export()
    listed = orjson.loads(run(folder, server, "exports", "list").stdout)
    assert [export["id"] for export in listed] == ["system", "patient"]
    assert server.kick_offs == 0
