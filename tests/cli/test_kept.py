"""What the command says of what it keeps: checkpoints, and folders that are fetched into."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.cli.conftest import write_export
from tests.pairing import by_default
from tests.scripted_http import http
from tests.sources import csv_body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import RunCommand
    from tests.scripted_http import ScriptedServer

NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.gate
@pytest.mark.parametrize("quiet", [False, True])
def test_one_line_says_what_a_checkpoint_can_not_keep(
    command: RunCommand, http_server: ScriptedServer, quiet: bool
) -> None:
    bodies: Any = {name: http(csv_body(2)) for name in "abc"}
    http_server.has("trial", bodies, dict.fromkeys(bodies, 2))
    arguments = ("count", "trial", "-s", http_server.url, "--checkpoint", "kept", *(["--quiet"] if quiet else []))
    for _ in range(2):
        done = command(*arguments)
        assert (done.code, orjson.loads(done.stdout)["totals"]) == (0, {"bp_sys": 6})
        line = "mockexport: 3 downloads cannot be saved in kept: the source has no strong ETag for them\n"
        assert done.stderr == ("" if quiet else line)


def test_nothing_is_said_where_all_can_be_kept(command: RunCommand) -> None:
    for _ in range(2):
        done = command("count", "demo", "--checkpoint", "kept")
        assert (done.code, done.stderr) == (0, "")


def test_a_fetch_into_a_folder_that_another_run_fetches_into_is_exit_2(command: RunCommand, workplace: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="files are locked where the system can")
    (workplace / "kept" / "demo").mkdir(parents=True)
    with (workplace / "kept" / "demo" / ".fetch.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command("downloads", "fetch", "demo", "--dir", "kept")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        "mockexport: error: another run is fetching into kept/demo; wait for it, or fetch into another folder\n"
    )


@pytest.mark.gate
def test_a_folder_whose_fetch_has_not_finished_is_exit_6(command: RunCommand, workplace: Path) -> None:
    assert command("downloads", "fetch", "demo", "--dir", "kept").code == 0
    path = workplace / "kept" / "demo" / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**manifest, "complete": False}))
    done = command("count", "demo", "-s", "kept")
    assert (done.code, done.stdout) == (6, "")
    assert done.stderr == (
        "mockexport: error: the fetch into kept/demo has not finished; `mockexport downloads fetch` completes it\n"
    )
    assert command("downloads", "fetch", "demo", "--dir", "kept").code == 0
    assert command("count", "demo", "-s", "kept").code == 0


def not_utf8_folder(folder: Path) -> Path:
    try:
        (folder / NOT_UTF8).mkdir()
    except OSError:
        pytest.skip("names of files are UTF-8 here")
    return folder / NOT_UTF8


@pytest.mark.gate
@pytest.mark.parametrize("form", by_default(["json", "table", "csv"], "json"))
def test_a_folder_that_is_not_utf8_is_fetched_into_and_counted_with_a_checkpoint(
    command: RunCommand, workplace: Path, form: str
) -> None:
    folder = not_utf8_folder(workplace)
    done = command("downloads", "fetch", "demo", "--dir", folder, "--format", form)
    assert (done.code, done.stderr) == (0, "")
    if form == "json":
        assert "caf\\\\udce9/demo" in done.stdout
    answers = [command("count", "demo", "-s", folder, "--checkpoint", folder / "kept") for _ in range(2)]
    assert [(answer.code, answer.stderr) for answer in answers] == [(0, "")] * 2
    assert answers[0].stdout == answers[1].stdout == command("count", "demo").stdout
    assert command("downloads", "fetch", "demo", "-s", folder, "--dir", "again").code == 0


def test_a_file_that_is_not_utf8_is_kept_in_a_checkpoint_and_refused_by_a_fetch(
    command: RunCommand, workplace: Path
) -> None:
    not_utf8_folder(workplace)
    write_export(workplace / "exports", "trial", **{NOT_UTF8: csv_body(2)})
    for _ in range(2):
        done = command("count", "trial", "-s", "exports", "--checkpoint", "kept")
        assert (done.code, done.stderr) == (0, "")
    done = command("downloads", "fetch", "trial", "-s", "exports", "--dir", "kept.d")
    assert done.code == 6
    assert "the id 'caf\\udce9' cannot be a file name, so nothing was fetched" in done.stderr
