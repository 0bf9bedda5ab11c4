"""`serve --log-format json`: all of stderr is one JSON object a line, and none tells who was asked about."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.cli.conftest import COMMAND, environment
from tests.commands import run_command
from tests.sources import WAIT_SECONDS

from mockexport.server.log import json_handler

if TYPE_CHECKING:
    from pathlib import Path

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID, DEVICE, TOKEN = "user_secret_1", "device_secret_2", "token_secret_3"
READING = {"device_id": DEVICE, "user_id": ID, "timestamp": "2024-01-15T10:00:00Z", "heart_rate": 75}
QUERY = {"user_id": ID, "start": "2024-01-15", "end": "2024-01-15", "device_id": DEVICE}


def objects(lines: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in lines.splitlines()]
    for line in found:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
        assert RFC_3339.fullmatch(line["time"])
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a server with readings said, from its start to its end by SIGTERM."""
    folder = tmp_path_factory.mktemp("json_log")
    (folder / "token").write_text(TOKEN)
    options = ("--data", "readings", "--token-file", "token", "--log-format", "json", "--verbose", "--rate-limit-user")
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", *options, "2/day"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        first = process.stderr.readline()
        url = json.loads(first)["message"].removeprefix("listening on ")
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=WAIT_SECONDS) as client:
            statuses = [
                client.post("/v1/metrics/heart-rate", json=READING).status_code,
                client.get("/metrics/heart-rate", params=QUERY).status_code,
                client.get("/metrics/heart-rate", params=QUERY | {"end": DEVICE}).status_code,
                client.post("/metrics/heart-rate", json=READING).status_code,
                client.post("/metrics/heart-rate", json=READING).status_code,
                client.get("/health", headers={"Authorization": "Bearer wrong"}).status_code,
                client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code,
                client.get("/%F0%9F%92%93%00%22%0A/%ff").status_code,
            ]
        assert statuses == [202, 200, 400, 202, 429, 200, 401, 404]
        process.send_signal(signal.SIGTERM)
        return first + process.communicate(timeout=WAIT_SECONDS)[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.gate
def test_every_line_is_json_from_listening_to_terminated(said: str) -> None:
    lines = objects(said)
    assert lines[0]["message"].startswith("listening on http://127.0.0.1:")
    assert (lines[0]["level"], lines[0]["logger"]) == ("INFO", "mockexport.serve")
    assert (lines[-1]["level"], lines[-1]["message"]) == ("ERROR", "terminated")


def test_each_request_is_a_line_with_its_fields(said: str) -> None:
    requests = [line for line in objects(said) if line["logger"] == "mockexport.requests"]
    assert [(line["method"], line["path"], line["status"], line["client"]) for line in requests[:7]] == [
        ("POST", "/v1/metrics/heart-rate", 202, "127.0.0.1"),
        ("GET", "/metrics/heart-rate", 200, "127.0.0.1"),
        ("GET", "/metrics/heart-rate", 400, "127.0.0.1"),
        ("POST", "/metrics/heart-rate", 202, "127.0.0.1"),
        ("POST", "/metrics/heart-rate", 429, "127.0.0.1"),
        ("GET", "/health", 200, "127.0.0.1"),
        ("GET", "/metrics", 401, "127.0.0.1"),
    ]
    assert len(requests) == 8
    assert requests[7]["status"] == 404
    assert all(0 < line["seconds"] < WAIT_SECONDS for line in requests)


@pytest.mark.parametrize("secret", [ID, DEVICE, TOKEN, "wrong"])
def test_no_line_has_a_user_a_device_or_a_token(said: str, secret: str) -> None:
    assert secret not in said


@pytest.mark.gate
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1:0: not an address of this machine"),
        (("--data", "file"), "file"),
        (("--source", "nowhere", "--verbose"), "nowhere"),
    ],
)
def test_an_error_is_json_too(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").write_text("no folder")
    ended = run_command(tmp_path, "serve", "--port", "0", "--log-format", "json", *arguments)
    assert ended.code in (2, 3)
    assert message in objects(ended.stderr)[0]["message"]
    assert [line["level"] for line in objects(ended.stderr)] == ["ERROR"] * (2 if "--verbose" in arguments else 1)


def test_text_that_is_not_unicode_and_an_exception_keep_to_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    error = ValueError("first\nsecond \udcff")
    record = logging.makeLogRecord(
        {
            "name": "a.log", "levelname": "ERROR", "msg": "no file\n%s", "args": ("\udcff",), "color_message": "again",
            "exc_info": (ValueError, error, None),
        }
    )  # fmt: skip
    json_handler().emit(record)
    (line,) = objects(capfd.readouterr().err)
    assert line["message"] == "no file\n\\udcff"
    assert line["exception"].endswith("ValueError: first\nsecond \\udcff")
    assert set(line) == {"time", "level", "logger", "message", "exception"}
