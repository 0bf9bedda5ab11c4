"""A fetch of a FHIR export that is killed, at each step: the next one goes on, without another kick-off."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.commands import run_command, started, wait_while_running
from tests.fhir_client.scripted_fhir import Answer, Asked, patients
from tests.fhir_client.test_keeping import (
    ALL,
    DELETE,
    EXPORT,
    FETCH,
    LEVEL,
    STATUS,
    WARNING,
    events,
    names_in,
    with_others,
)
from tests.sources import WAIT_SECONDS

from mockexport import count
from mockexport.sources import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Ended
    from tests.fhir_client.scripted_fhir import ScriptedFhir

pytestmark = pytest.mark.gate


class Gate:
    """An answer that is held back until it is opened."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, _asked: Asked) -> Answer:
        self.reached.set()
        assert self._opened.wait(WAIT_SECONDS)
        return self._answer

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Callable[[Answer], Gate]]:
    gates: list[Gate] = []

    def make(answer: Answer) -> Gate:
        gates.append(Gate(answer))
        return gates[-1]

    yield make
    for made in gates:
        made.open()


def killed_at(gate: Gate, server: ScriptedFhir, folder: Path, ready: Callable[[], bool] = lambda: True) -> None:
    """Fetch, and kill -9 the run when the answer of a gate is waited for."""
    with started(folder, *FETCH, "-s", f"fhir+{server.url}") as process:
        wait_while_running(process, lambda: gate.reached.is_set() and ready())
        assert process.poll() is None
        process.kill()
        process.wait()
    gate.open()


@pytest.mark.parametrize("what", [STATUS, "GET /fhir/files/2", "GET /fhir/files/e"])
def test_a_fetch_that_is_killed_is_gone_on_with_without_another_kick_off(
    server: ScriptedFhir,
    run: Callable[..., Ended],
    kept: Path,
    tmp_path: Path,
    gate: Callable[[Answer], Gate],
    what: str,
) -> None:
    with_others(server)
    answers = {STATUS: server.manifest_answer, "GET /fhir/files/2": Answer(body=patients(4, 5))}
    answer = answers.get(what, Answer(body=WARNING))
    held = gate(answer)
    # The file of errors is read once before the others, to see whether the export is whole.
    server.on(what, *([answer] if what.endswith("e") else []), held, answer)
    first = kept / "1.Patient.ndjson"
    killed_at(held, server, tmp_path, lambda: what == STATUS or first.exists())
    if what != STATUS:
        counted = run_command(tmp_path, "count", EXPORT, "-s", "kept")
        assert counted.code == 6
        assert "has not finished" in counted.stderr
    done = run(*FETCH)
    assert done.code == 0, done.stderr
    assert (server.kick_offs, server.count(DELETE)) == (1, 1)
    assert names_in(kept) == [
        ".export-state.json",
        ".mockexport.json",
        "1.Patient.ndjson",
        "2.Patient.ndjson",
        "deleted/1.Bundle.ndjson",
        "error/1.OperationOutcome.ndjson",
        "log.ndjson",
        "manifest.json",
    ]
    assert count(FolderSource(tmp_path / "kept"), EXPORT).patients == ALL
    assert [event["eventId"] for event in events(kept)].count("kickoff") == 1


def test_a_fetch_that_is_killed_before_it_ended_the_export_ends_it_the_next_time_and_asks_nothing_else(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path, gate: Callable[[Answer], Gate]
) -> None:
    server.export(level=LEVEL)
    held = gate(Answer(202))
    server.on(DELETE, held, Answer(202))
    killed_at(held, server, tmp_path)
    server.asked.clear()
    assert run(*FETCH).code == 0
    assert [asked.what for asked in server.asked] == [DELETE]


def test_a_fetch_that_is_killed_at_the_kick_off_is_exit_5_and_begins_another_only_with_restart(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path, gate: Callable[[Answer], Gate]
) -> None:
    server.export(level=LEVEL)
    held = gate(server.begun())
    server.on(f"GET /fhir{LEVEL}/$export", held, server.begun())
    killed_at(held, server, tmp_path)
    done = run(*FETCH)
    assert (done.code, server.kick_offs) == (5, 1)
    assert "an export may be running" in done.stderr
    assert run(*FETCH, "--restart").code == 0
    assert server.kick_offs == 2


def test_a_second_fetch_at_the_same_time_begins_no_other_export(
    server: ScriptedFhir, run: Callable[..., Ended], tmp_path: Path, gate: Callable[[Answer], Gate]
) -> None:
    server.export(level=LEVEL)
    held = gate(server.manifest_answer)
    server.on(STATUS, held, server.manifest_answer)
    with started(tmp_path, *FETCH, "-s", f"fhir+{server.url}") as process:
        wait_while_running(process, held.reached.is_set)
        second = run(*FETCH)
        held.open()
        assert process.wait(WAIT_SECONDS) == 0
    assert (second.code, server.kick_offs) == (2, 1)
    assert "another run is fetching into" in second.stderr
