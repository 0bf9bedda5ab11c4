"""The commands `heartrate send`, `heartrate query` and `serve --data`: what they refuse, and in which words."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import environment
from tests.commands import run_command, serve_command, started
from tests.heartrate.serving import FakeService, done, served
from tests.pairing import by_default
from tests.scripted_http import http
from tests.sources import WAIT_SECONDS

from mockexport.cli.serve import read_age, read_priorities
from mockexport.errors import UsageError
from mockexport.heartrate.load.client import SILENT_SECONDS
from mockexport.heartrate.readings import Point, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from syrupy.assertion import SnapshotAssertion
    from tests.scripted_http import ScriptedServer

NOON = parse_timestamp("2024-01-15T12:00:00Z")
MINUTE = 60_000_000


def wave(_user: str) -> list[Point]:
    """Half an hour up and down, with a gap, of two devices."""
    return [
        Point(NOON + number * MINUTE, 70 + abs(15 - number) * 2.5, "device_a" if number % 10 else "device_b")
        for number in range(31)
        if number not in (8, 9, 10)
    ]


@pytest.fixture
def url() -> Iterator[str]:
    """A server that knows of such a wave of everyone."""
    with served(FakeService(answering=wave)) as client:
        yield str(client.base_url).rstrip("/")


QUERY = ("heartrate", "query", "user_1", "--start", "2024-01-15T12:00:00Z", "--end", "2024-01-15T13:00:00Z")


@pytest.mark.gate
def test_the_answer_is_json_in_order(tmp_path: Path, url: str, snapshot: SnapshotAssertion) -> None:
    answer = run_command(tmp_path, *QUERY, "-s", url)
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout == snapshot
    written = run_command(tmp_path, *QUERY, "-s", url, "-o", "answer.json")
    assert (written.code, written.stdout) == (0, "")
    assert (tmp_path / "answer.json").read_text() == answer.stdout


@pytest.mark.gate
def test_a_chart_is_what_people_read(tmp_path: Path, url: str, snapshot: SnapshotAssertion) -> None:
    answer = run_command(tmp_path, *QUERY, "-s", url, "--format", "chart")
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout == snapshot
    assert max(map(len, answer.stdout.splitlines())) <= 120


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    ((*QUERY[:3], "--start", "noon", "--end", "2024-01-15"), "--start noon is not an ISO 8601 date, or date and time"),
    ((*QUERY, "-s", "ftp://host"), "is not an http:// or https:// URL"),
    ((*QUERY, "-s", "nowhere"), "nowhere holds no heart-rate data"),
    ((*QUERY, "-s", "localhost:8000"), "did you mean http://localhost:8000?"),
    ((*QUERY, "-s", "http://127.0.0.1:9", "--priority", "a=1"), "--priority applies to a folder only"),
    (("heartrate", "send", "--token-file", "nowhere"), "cannot read --token-file nowhere"),
    (("serve", "--journal", "here"), "--data"),
    (("serve", "--data", "readings", "--retain", "soon"), "--retain soon is not a number of days or hours"),
]
MORE_MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (
        (*QUERY[:3], "--start", "2016-12-31T23:59:60Z", "--end", "2017"),
        "--start 2016-12-31T23:59:60Z has the second 60; leap",
    ),
    ((*QUERY[:3], "--start", "2024-01-15", "--end", ""), "--end  is not an ISO 8601 date, or date and time"),
    (("heartrate", "send", "-s", "mock"), "is not an http:// or https:// URL"),
    (("heartrate", "send", "--start", "today"), "--start today is not an ISO 8601 timestamp"),
    (("heartrate", "send", "-o", "nowhere/summary.json"), "the folder nowhere does not exist"),
    (("serve", "--retain", "90d"), "--data"),
    (("serve", "--data", "readings", "--priority", "device_a"), "--priority device_a is invalid at 'device_a'"),
    (("serve", "--data", "s3://bucket/key"), "--journal"),
    (
        ("serve", "--data", "readings", "--journal", "host=db dbname=x password=secret"),
        "not a list of parameters of libpq",
    ),
]


@pytest.mark.gate
@pytest.mark.parametrize("mistake", by_default([*MISTAKES, *MORE_MISTAKES], *MISTAKES))
def test_a_mistake_is_one_line_and_exit_2(tmp_path: Path, mistake: tuple[tuple[str, ...], str]) -> None:
    arguments, told = mistake
    ended = run_command(tmp_path, *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert told in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gate
def test_an_export_that_is_called_heart_rate_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "exports" / "heart_rate").mkdir(parents=True)
    (tmp_path / "exports" / "heart_rate" / "a.csv").write_text("patient_id,event_time,event_type,value\n")
    ended = run_command(tmp_path, "serve", "--port", "0", "--source", "exports", "--data", "readings")
    assert ended.code == 2
    assert "both exports and readings have an export 'heart_rate'" in ended.stderr


def test_without_a_server_send_ends_with_5_and_one_line(tmp_path: Path) -> None:
    ended = run_command(tmp_path, "heartrate", "send", "-s", "http://127.0.0.1:1", "--timeout", "0.2")
    assert (ended.code, ended.stdout) == (5, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "http://127.0.0.1:1/health can't be reached" in ended.stderr


@pytest.mark.gate
def test_send_waits_for_a_server_that_starts_later_and_says_so(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]  # free as soon as it is closed
    url = f"http://127.0.0.1:{port}"
    with started(tmp_path, "heartrate", "send", "-n", "100", "-s", url) as sender:
        assert sender.stderr is not None
        assert sender.stderr.readline() == f"mockexport: waiting for {url}, for at most 30 s\n"
        with serve_command("--data", tmp_path / "readings", "--port", port):
            stdout, stderr = sender.communicate(timeout=WAIT_SECONDS)
    assert (sender.returncode, stderr) == (0, "")
    assert (json.loads(stdout)["sent"], json.loads(stdout)["tried_again"]) == (100, 0)


@pytest.mark.gate
def test_send_waits_for_a_service_that_is_not_ready_and_does_not_time_the_wait(tmp_path: Path) -> None:
    service = FakeService(accepting=lambda _: done(), told="the disk is full")
    with served(service) as client:
        arguments = ("heartrate", "send", "-n", "100", "-s", client.base_url)
        refused = run_command(tmp_path, *arguments, "--timeout", "0.2")
        began = time.monotonic()
        with started(tmp_path, *arguments) as sender:
            assert sender.stderr is not None
            assert "waiting for" in sender.stderr.readline()
            waited = SILENT_SECONDS  # at the least
            service.told = None
            stdout, _ = sender.communicate(timeout=WAIT_SECONDS)
            whole = time.monotonic() - began
    assert (refused.code, "/health answered 503" in refused.stderr) == (5, True)
    assert (sender.returncode, sum(map(len, service.accepted))) == (0, 100)
    assert json.loads(stdout)["seconds"] <= whole - waited


def test_a_service_without_a_route_for_its_health_is_sent_to_at_once(
    tmp_path: Path, http_server: ScriptedServer
) -> None:
    http_server.answers["/metrics/heart-rate"] = http(b'{"status":"accepted"}', 202)
    ended = run_command(tmp_path, "heartrate", "send", "-n", "3", "--singles", "-s", http_server.url)
    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.gate
@pytest.mark.parametrize("form", ["table", "csv"])
def test_minutes_are_a_table_or_csv_too(tmp_path: Path, url: str, form: str, snapshot: SnapshotAssertion) -> None:
    answer = run_command(tmp_path, *QUERY, "-s", url, "--format", form)
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout == snapshot


FORMS = ("json", "table", "csv", "chart")


@pytest.mark.gate
def test_a_folder_answers_as_its_server_does_beside_it_and_without(tmp_path: Path) -> None:
    query = ("heartrate", "query", "user_001", "--start", "2025-08-26", "--end", "2025-08-26")
    narrow = (*query[:-2], "--end", "2025-08-26T00:10", "--device", "device_c")
    ways = [(*query, "--format", form) for form in FORMS] + [narrow]
    with serve_command("--data", tmp_path / "readings") as server:
        assert run_command(tmp_path, "heartrate", "send", "-n", "2000", "-s", server.url).code == 0
        told = [run_command(tmp_path, *way, "-s", server.url) for way in ways]
        beside = run_command(tmp_path, *query, "-s", "readings")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert [answer.code for answer in told] == [0] * len(ways)
    assert beside == told[0]
    assert [run_command(tmp_path, *way, "-s", "readings") for way in ways] == told
    assert run_command(tmp_path, *query, MOCKEXPORT_SOURCE="readings") == told[0]
    assert "device_c" in run_command(tmp_path, *query, "-s", "readings", "--priority", "device_c=0").stdout
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before, "it is only read"
    nobody = run_command(tmp_path, *query[:2], "nobody", *query[3:], "-s", "readings")
    assert (nobody.code, nobody.stdout, nobody.stderr.count("\n")) == (3, "", 1)
    assert "no heart rate of user 'nobody' from 2025-08-26T00:00:00+00:00 to " in nobody.stderr


@pytest.mark.gate
def test_progress_is_told_in_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    with served(FakeService(accepting=lambda _: done())) as client:
        arguments = ("--seconds", "2", "--rate", "5000", "--burst", "100", "--progress", "-s", client.base_url)
        ended = run_command(tmp_path, "heartrate", "send", *arguments)
    assert ended.code == 0
    assert "readings/s" in ended.stderr
    assert json.loads(ended.stdout)["sent"] <= 10_000


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hide())
from mockexport.__main__ import main
main()
"""


SERVE, COUNT = "serve --port 0 --data readings", "count heart_rate -s kept"


@pytest.mark.gate
@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        (SERVE, "polars"),
        pytest.param(SERVE, "deltalake", marks=pytest.mark.slow),
        (SERVE, "prometheus_client"),
        pytest.param(COUNT, "polars", marks=pytest.mark.slow),
        (COUNT, "deltalake"),
    ],
)
def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, hidden: str, line: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "heartrate.json").write_text('{"format": 1}')
    program = (sys.executable, "-c", HIDE.format(hidden={hidden}))
    ended = run_command(tmp_path, *line.split(), program=program)
    assert (ended.code, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "pip install 'mockexport[heartrate]'" in ended.stderr
    assert not (tmp_path / "readings").exists()


@pytest.mark.gate
def test_sending_and_asking_need_no_extra(tmp_path: Path, url: str) -> None:
    hidden = {"polars", "deltalake", "prometheus_client", "fastapi", "starlette", "uvicorn"}
    program = (sys.executable, "-c", HIDE.format(hidden=hidden))
    for arguments in (("heartrate", "send", "--readings", "10"), QUERY):
        ended = run_command(tmp_path, *arguments, "-s", url, program=program, **environment())
        assert ended.code == 0, ended.stderr


@pytest.mark.parametrize(("text", "hours"), [("90d", 90 * 24), ("36h", 36), ("1d", 24)])
def test_an_age_is_days_or_hours(text: str, hours: int) -> None:
    assert read_age(text).total_seconds() == hours * 3600


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "0d", "1.5d", "90 d", "9999999d", "90w", "٣d"])
def test_what_is_no_age_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--retain"):
        read_age(text)


def test_priorities_are_devices_and_numbers() -> None:
    assert read_priorities("device_a=1,device_b=2") == {"device_a": 1, "device_b": 2}
    assert read_priorities("a=b=7, ☃=0") == {"a=b": 7, "☃": 0}
    assert read_priorities("") == {}


@pytest.mark.parametrize("text", ["device_a", "device_a=", "=1", "a=1,a=2", "a=x", "a=1000", "a=-1"])
def test_priorities_that_make_no_sense_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="--priority"):
        read_priorities(text)
