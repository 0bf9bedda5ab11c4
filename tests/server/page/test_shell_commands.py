"""The shell command beside an answer: run by a real shell, it gives the same bytes."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.commands import serve_command
from tests.server.page.serving import ended, page_over, start
from tests.server.page.test_runs import timeless
from tests.sources import EXPORT, WAIT_SECONDS, MemorySource, csv_body

from mockexport.cli.page import kinds_of_runs
from mockexport.factory import open_source
from mockexport.sources import MockSource, UnionSource

if TYPE_CHECKING:
    import httpx

KINDS = ("count", "stats", "reconcile")
TRICKY = "it's $(touch gone) `x`; a\\b"


def test_the_command_names_the_source_that_has_the_export() -> None:
    union = UnionSource(MockSource(), MemorySource({}, name="a folder"))
    count = kinds_of_runs(union, "auto")[0]
    assert count.command("demo", "http://host") == "mockexport count demo --source mock"
    assert count.command(EXPORT, "http://host") == "mockexport count trial --source 'a folder'"


@pytest.mark.gate
@pytest.mark.parametrize("export", [TRICKY, "-x"])
def test_a_shell_gives_the_same_answer_whatever_the_names_are(tmp_path: Path, export: str) -> None:
    folder = tmp_path / TRICKY
    (folder / export).mkdir(parents=True)
    (folder / export / "a.csv").write_bytes(csv_body(3))
    with (
        closing(open_source(folder)) as source,
        page_over(source, kinds_of_runs(source, "auto")) as (client, _),
    ):
        for kind in KINDS:
            assert_same_in_a_shell(client, kind, export, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {TRICKY}


def test_readings_in_a_table_at_a_url_are_asked_of_the_server(tmp_path: Path) -> None:
    from mockexport.heartrate.export import HeartRateSource

    at_url = UnionSource(MemorySource({}), HeartRateSource("s3://bucket/readings", object()))  # type: ignore[arg-type]
    count = kinds_of_runs(at_url, "auto")[0]
    assert count.command("heart_rate", "http://host:1") == "mockexport count heart_rate --source http://host:1"
    in_folder = UnionSource(MemorySource({}), HeartRateSource(tmp_path, object()))  # type: ignore[arg-type]
    count = kinds_of_runs(in_folder, "auto")[0]
    assert count.command("heart_rate", "http://host:1") == f"mockexport count heart_rate --source {tmp_path}"


@pytest.mark.gate
def test_each_page_is_told_the_address_by_which_it_reached_the_server() -> None:
    class Elsewhere(MemorySource):
        needs_server = True

    source = Elsewhere({"a": csv_body(3)})
    with page_over(source, kinds_of_runs(source, "auto")) as (client, _):
        run = ended(client, start(client, "count", EXPORT))
        assert run["command"] == f"mockexport count trial --source {str(client.base_url).rstrip('/')}"
        other = client.get(f"/page/runs/{run['id']}", headers={"Host": "other.example:81; rm -r /"}).json()
        assert other["command"].startswith("mockexport count trial --source ")
        assert "; rm" not in other["command"].replace("'http://other.example:81; rm -r /'", "")


@pytest.mark.gate
def test_the_readings_of_a_server_are_counted_by_the_command_it_shows(tmp_path: Path) -> None:
    import httpx

    with (
        serve_command("--data", tmp_path / "readings") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS) as client,
    ):
        reading = {"user_id": "anna", "device_id": "a", "heart_rate": 61, "timestamp": "2025-08-26T10:00:00Z"}
        assert client.post("/metrics/heart-rate", json=reading).status_code == 202
        for kind in KINDS:
            assert_same_in_a_shell(client, kind, "heart_rate", tmp_path)


def assert_same_in_a_shell(client: httpx.Client, kind: str, export: str, folder: Path) -> None:
    """Check that the JSON and the CSV of a run are what the shown command writes."""
    run = ended(client, start(client, kind, export))
    assert run["state"] == "done", run["error"]
    for suffix in ("json", "csv"):
        answer = client.get(f"/page/runs/{run['id']}/result.{suffix}").text
        program, rest = run["command"].split(" ", 1)
        assert program == "mockexport"
        written = in_a_shell(f"mockexport {with_format(rest, suffix)}", folder)
        assert timeless(answer) == timeless(written)


def with_format(rest: str, suffix: str) -> str:
    """Put the option behind the name of the command."""
    kind, given = rest.split(" ", 1)
    return f"{kind} --format {suffix} {given}"


def in_a_shell(command: str, folder: Path) -> str:
    found: dict[str, Any] = {"PATH": f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment() | found,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS * 4,
        check=False,
    )
    return done.stdout
