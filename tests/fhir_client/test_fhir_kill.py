"""Counts of a FHIR server that are killed at any moment: the next one goes on with the same export, or says why not."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import orjson
import pytest
from tests import seeds
from tests.commands import run_command, serve_command, started, wait_while_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Serving

MOMENTS = [
    *[pytest.param("group/demo", seed, id=f"demo-{seed}") for seed in range(4)],
    *[pytest.param("group/small", seed, id=f"small-{seed}", marks=pytest.mark.slow) for seed in range(50)],
]
BEGUN = '%24export HTTP/1.1" 202'


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serve_command("-s", "mock-fhir", "--files-of", "100000", "--verbose") as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(server: Serving, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, float]]:
    """What a count prints that nobody kills, and how many seconds it takes."""
    known: dict[str, tuple[str, float]] = {}

    def count(export: str) -> tuple[str, float]:
        if export not in known:
            began = time.monotonic()
            done = run_command(tmp_path_factory.mktemp("undisturbed"), *arguments(server, export))
            assert done.code == 0, done.stderr
            known[export] = done.stdout, time.monotonic() - began
        return known[export]

    return count


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def arguments(server: Serving, export: str) -> tuple[str, ...]:
    return "count", export, "-s", f"fhir+{server.url}/fhir", "--state", "job", "--by", "code"


def kick_offs(server: Serving) -> int:
    return sum(line.rstrip().endswith(BEGUN) for line in server.told)


@pytest.mark.parametrize(("export", "seed"), MOMENTS)
def test_a_count_that_is_killed_goes_on_with_its_export_or_says_that_one_may_be_running(
    export: str,
    seed: int,
    folder: Path,
    server: Serving,
    undisturbed: Callable[[str], tuple[str, float]],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    answer, seconds = undisturbed(export)
    command = arguments(server, export)
    before = kick_offs(server)
    with started(folder, *command) as process:
        moment = time.monotonic() + seeds.rng(seed).uniform(0, seconds)
        wait_while_running(process, lambda: time.monotonic() > moment)
        process.kill()
        first, _ = process.communicate()
    state = orjson.loads((folder / "job").read_bytes()) if (folder / "job").exists() else {}

    done = run_command(folder, *command)

    if state.get("ended"):  # it was killed when all was done
        assert (first, done.code) == (answer, 3), done.stderr
    elif state.get("sent") and "status_url" not in state:  # between the server's 202 and our note of it, or before both
        assert (done.code, done.stdout) == (5, "")
        assert "an export may be running" in done.stderr
        assert kick_offs(server) - before <= 1
        before = kick_offs(server)
        done = run_command(folder, *command, "--restart")
        assert (done.code, done.stdout) == (0, answer), done.stderr
    else:
        assert (done.code, done.stdout) == (0, answer), done.stderr
    eventually(lambda: kick_offs(server) - before == 1)


def test_a_kill_between_the_202_and_its_note_is_told_and_restart_goes_on(folder: Path, server: Serving) -> None:
    """The moment that random kills seldom meet: the state as it is then."""
    before = kick_offs(server)
    command = arguments(server, "group/demo")
    sent = {"mockexport_export_state": 1, "kick_off": f"{server.url}/fhir/Group/demo/$export", "sent": True}
    (folder / "job").write_bytes(orjson.dumps(sent))
    done = run_command(folder, *command)
    assert (done.code, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert "its answer did not arrive; --restart begins another one" in done.stderr
    assert kick_offs(server) == before
    assert run_command(folder, *command, "--restart").code == 0
