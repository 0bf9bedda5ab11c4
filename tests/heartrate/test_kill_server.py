"""SIGKILL of the real server under load at any moment: what it acknowledged is there once, and nothing else is."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from tests.commands import Serving, run_command, serve_command
from tests.heartrate.serving import BATCH, ONE
from tests.seeds import rng
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gate

MOMENTS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 100))]
SENDERS = 4
LOAD_SECONDS = 2.5  # long enough for flushes to begin
START = datetime(2024, 1, 15, 23, 58)  # noqa: DTZ001 - written without an offset, which means UTC


class Sender(threading.Thread):
    """Posts readings of its own until the server is gone; knows which were acknowledged."""

    def __init__(self, url: str, number: int, acknowledged: threading.Event) -> None:
        super().__init__()
        self.url, self.user, self.singles = url, f"user {number}", number == 0
        self.sent: set[tuple[str, str]] = set()
        self.kept: set[tuple[str, str]] = set()
        self._acknowledged = acknowledged
        self._next = 0

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=WAIT_SECONDS) as client:
            while True:
                times = [self._time() for _ in range(1 if self.singles else 500)]
                readings = [
                    {"user_id": self.user, "device_id": "device_a", "timestamp": time, "heart_rate": 75}
                    for time in times
                ]
                keys = {(self.user, f"{time}Z") for time in times}
                self.sent |= keys
                body = orjson.dumps(readings[0] if self.singles else {"readings": readings})
                try:
                    answer = client.post(ONE if self.singles else BATCH, content=body)
                except httpx.TransportError:
                    return
                if answer.status_code == 503:
                    return
                assert answer.status_code == 202, answer.text
                self.kept |= keys
                self._acknowledged.set()

    def _time(self) -> str:
        self._next += 1
        return (START + timedelta(milliseconds=7 * self._next)).isoformat()


def ended_under_load(
    server: Serving, seconds: float, number: signal.Signals
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Load a server and send it a signal; return what was sent, and what of it was acknowledged."""
    acknowledged = threading.Event()
    senders = [Sender(server.url, number, acknowledged) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    assert acknowledged.wait(WAIT_SECONDS)
    time.sleep(seconds)  # the moment is what is tried here
    server.process.send_signal(number)
    server.process.wait(WAIT_SECONDS)
    for sender in senders:
        sender.join(WAIT_SECONDS)
        assert not sender.is_alive()
    return set().union(*(sender.sent for sender in senders)), set().union(*(sender.kept for sender in senders))


def kept_rows(url: str) -> Counter[tuple[str, str]]:
    """All that a server has of the export heart_rate, row by row."""
    found: Counter[tuple[str, str]] = Counter()
    export = "/api/export/heart_rate"
    with httpx.Client(base_url=url, timeout=WAIT_SECONDS) as client:
        for download in client.get(export).json()["data"]["download_ids"]:
            for line in client.get(f"{export}/{download}/data").text.splitlines()[1:]:
                user, moment, event_type, value = line.split(",")
                assert (event_type, value) == ("heart_rate", "75")
                found[user, moment] += 1
    return found


@pytest.mark.parametrize("seed", MOMENTS)
def test_after_sigkill_what_was_acknowledged_is_there_once_and_nothing_was_invented(seed: int, tmp_path: Path) -> None:
    chance = rng(seed)
    folder = tmp_path / "readings"
    with serve_command("--data", folder) as server:
        sent, kept = ended_under_load(server, chance.uniform(0, LOAD_SECONDS), signal.SIGKILL)
    with serve_command("--data", folder) as server:
        found = kept_rows(server.url)
        assert kept - set(found) == set()
        assert set(found) - sent == set()
        assert set(found.values()) == {1}
        server.kill()
    with serve_command("--data", folder) as server:  # and killed again, at once, nothing changes
        assert kept_rows(server.url) == found
        counted = run_command(tmp_path, "count", "heart_rate", "-s", server.url)
        assert orjson.loads(counted.stdout)["totals"] == {"heart_rate": len(found)}


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 0, "mockexport: stopped"),
        (signal.SIGTERM, 143, "mockexport: error: terminated"),
    ],
)
def test_a_server_that_is_asked_to_end_under_load_ends_in_one_line_and_loses_nothing(
    number: signal.Signals, code: int, line: str, tmp_path: Path
) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        sent, kept = ended_under_load(server, 0.5, number)
        assert server.process.returncode == code
    told = [line for line in "".join(server.told).splitlines() if "listening on" not in line]
    assert told == [line]
    with serve_command("--data", tmp_path / "readings") as server:
        found = kept_rows(server.url)
    assert kept - set(found) == set(found) - sent == set()
    assert set(found.values()) == {1}
