"""Counts of a FHIR server that are killed at any moment: the next one goes on with the same export, or says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from tests.commands import run_command
from tests.fhir_client.kills import MOMENTS, Undisturbed, kick_offs, killed, undisturbed_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Serving

pytestmark = pytest.mark.gate


@pytest.fixture(scope="module")
def undisturbed(mock_fhir: Serving, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """A count that nobody kills."""
    known: dict[str, Undisturbed] = {}

    def count(export: str) -> Undisturbed:
        if export not in known:
            known[export] = undisturbed_run(tmp_path_factory.mktemp("undisturbed"), *command(mock_fhir, export))
        return known[export]

    return count


def command(server: Serving, export: str) -> tuple[str, ...]:
    return "count", export, "-s", f"fhir+{server.url}/fhir", "--state", "job", "--by", "code"


@pytest.mark.parametrize(("export", "seed"), MOMENTS)
def test_a_count_that_is_killed_goes_on_with_its_export_or_says_that_one_may_be_running(
    export: str,
    seed: int,
    killed_in: Path,
    mock_fhir: Serving,
    undisturbed: Callable[[str], Undisturbed],
    eventually: Callable[[Callable[[], object]], None],
    record_property: Callable[[str, object], None],
) -> None:
    answer, seconds = undisturbed(export)[1:]
    count = command(mock_fhir, export)
    before = kick_offs(mock_fhir)
    first = killed(killed_in, *count, within=seconds, seed=seed)
    state = orjson.loads((killed_in / "job").read_bytes()) if (killed_in / "job").exists() else {}

    done = run_command(killed_in, *count)

    if state.get("ended"):  # it was killed when all was done
        record_property("met", "ended on the server")
        assert (first, done.code) == (answer, 3), done.stderr
    elif state.get("sent") and "status_url" not in state:  # between the server's 202 and our note of it, or before both
        record_property("met", "the answer to the kick-off was lost")
        assert (done.code, done.stdout) == (5, "")
        assert "an export may be running" in done.stderr
        assert kick_offs(mock_fhir) - before <= 1
        before = kick_offs(mock_fhir)
        done = run_command(killed_in, *count, "--restart")
        assert (done.code, done.stdout) == (0, answer), done.stderr
    else:
        record_property("met", "the export was known" if state else "not begun")
        assert (done.code, done.stdout) == (0, answer), done.stderr
    eventually(lambda: kick_offs(mock_fhir) - before == 1)


def test_a_kill_between_the_202_and_its_note_is_told_and_restart_goes_on(killed_in: Path, mock_fhir: Serving) -> None:
    """The moment that random kills seldom meet: the state as it is then."""
    before = kick_offs(mock_fhir)
    count = command(mock_fhir, "group/demo")
    sent = {"mockexport_export_state": 1, "kick_off": f"{mock_fhir.url}/fhir/Group/demo/$export", "sent": True}
    (killed_in / "job").write_bytes(orjson.dumps(sent))
    done = run_command(killed_in, *count)
    assert (done.code, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert "its answer did not arrive; --restart begins another one" in done.stderr
    assert kick_offs(mock_fhir) == before
    assert run_command(killed_in, *count, "--restart").code == 0
