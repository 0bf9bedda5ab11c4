"""Fetches of a FHIR export that are killed at any moment: the next one makes the folder whole, or says why not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.commands import run_command
from tests.fhir_client.kills import MOMENTS, Undisturbed, kick_offs, killed, undisturbed_run
from tests.fhir_client.test_keeping import events, names_in

from mockexport.bulk_manifest import parse_bulk_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Serving

pytestmark = pytest.mark.gate

COUNT = ("count", "-s", "kept", "--by", "code")


@pytest.fixture(scope="module")
def undisturbed(mock_fhir: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Undisturbed]]:
    """A fetch that nobody kills."""
    known: dict[str, Undisturbed] = {}
    answers: dict[str, str] = {}

    def fetch(export: str) -> Undisturbed:
        if export not in known:
            known[export] = undisturbed_run(tmp_path_factory.mktemp("undisturbed"), *command(mock_fhir, export))
            counted = run_command(known[export].folder, *COUNT, export)
            assert counted.code == 0, counted.stderr
            answers[export] = counted.stdout
        return known[export]._replace(stdout=answers[export])

    yield fetch
    for done in known.values():
        shutil.rmtree(done.folder)


def command(server: Serving, export: str) -> tuple[str, ...]:
    return "downloads", "fetch", export, "--dir", "kept", "-s", f"fhir+{server.url}/fhir"


def document(path: Path) -> dict[str, Any]:
    """The JSON of a file; empty where there is none yet."""
    content: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}
    return content


def files_with_sha256(folder: Path) -> list[tuple[str, str]]:
    return [(file["file"], file["sha256"]) for file in document(folder / ".mockexport.json")["downloads"]]


@pytest.mark.parametrize(("export", "seed"), MOMENTS)
def test_a_fetch_that_is_killed_is_made_whole_by_the_next_one_or_says_that_an_export_may_be_running(
    export: str,
    seed: int,
    killed_in: Path,
    mock_fhir: Serving,
    undisturbed: Callable[[str], Undisturbed],
    eventually: Callable[[Callable[[], object]], None],
    record_property: Callable[[str, object], None],
) -> None:
    whole = undisturbed(export)
    fetch = command(mock_fhir, export)
    before = kick_offs(mock_fhir)
    killed(killed_in, *fetch, within=whole.seconds, seed=seed)
    kept = killed_in / "kept" / export
    state, ours = document(kept / ".export-state.json"), document(kept / ".mockexport.json")

    counted = run_command(killed_in, *COUNT, export)

    if ours.get("complete"):
        assert (counted.code, counted.stdout) == (0, whole.stdout), counted.stderr
    else:
        assert (counted.code != 0, counted.stdout) == (True, ""), counted.stderr
        assert not ours or (counted.code == 6 and "has not finished" in counted.stderr)

    done = run_command(killed_in, *fetch)

    if state.get("sent") and "status_url" not in state:  # between the server's 202 and our note of it, or before both
        record_property("met", "the answer to the kick-off was lost")
        assert (done.code, done.stdout) == (5, "")
        assert "an export may be running" in done.stderr
        assert kick_offs(mock_fhir) - before <= 1
        before = kick_offs(mock_fhir)
        done = run_command(killed_in, *fetch, "--restart")
    elif not state:
        record_property("met", "not begun")
    elif not ours:
        record_property("met", "the export was being made")
    elif not ours.get("complete"):
        record_property("met", "files were being fetched")
    else:
        record_property("met", "ended on the server" if state.get("ended") else "complete, and not yet ended")
    assert done.code == 0, done.stderr
    check_whole(killed_in, export, whole)
    eventually(lambda: kick_offs(mock_fhir) - before == 1)


def check_whole(folder: Path, export: str, whole: Undisturbed) -> None:
    """Assert that a folder holds what an undisturbed fetch leaves, by its names, its bytes and its counts."""
    kept, undisturbed = folder / "kept" / export, whole.folder / "kept" / export
    counted = run_command(folder, *COUNT, export)  # checks each file against its SHA-256
    assert (counted.code, counted.stdout) == (0, whole.stdout), counted.stderr
    assert names_in(kept) == names_in(undisturbed)  # no temporary file among them
    assert files_with_sha256(kept) == files_with_sha256(undisturbed)

    state = document(kept / ".export-state.json")
    assert state["ended"]
    assert (kept / "manifest.json").read_text() == state["manifest"]  # as the server sent it
    listed, expected = (parse_bulk_manifest(document(path / "manifest.json")) for path in (kept, undisturbed))
    assert [(file.type, file.count) for file in listed.output] == [(file.type, file.count) for file in expected.output]

    log = events(kept)  # each line is JSON
    names = [event["eventId"] for event in log]
    assert {event["exportId"] for event in log} == {state["status_url"]}
    assert (names[:4], names.count("kickoff")) == (
        ["kickoff", "status_complete", "status_page_complete", "manifest_complete"],
        1,
    )
    assert (names[-1], names.count("export_complete")) == ("export_complete", 1)
