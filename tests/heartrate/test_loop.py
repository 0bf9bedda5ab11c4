"""The loop closes: what `heartrate send` says it sent is what `count heart_rate` finds, on every way to it."""

from __future__ import annotations

import json
import os
import signal
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.commands import Ended, run_command, serve_command, started, wait_while_running
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH, ONE
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gate


LEAP_DAY = "2024-02-29T23:59:00Z"


def answered(run: Ended) -> Any:
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)


def total(document: Any) -> int:
    counted: int = document["totals"].get("heart_rate", 0)
    return counted


@pytest.mark.parametrize(
    "options",
    [
        (
            "--duplicates",
            "0.3",
            "--invalid",
            "0.05",
            "--clients",
            "8",
            "--batch",
            "777",
            "--users",
            "200",
            "--readings",
            "5000",
        ),
        pytest.param(
            ("--singles", "--readings", "500", "--duplicates", "0.3", "--invalid", "0.1", *("--start", LEAP_DAY)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["batches", "singles"],
)
def test_what_was_sent_is_what_is_counted_over_http_in_the_folder_and_after_a_restart(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        summary = answered(run_command(tmp_path, "heartrate", "send", "-s", server.url, *options))
        assert summary["sent"] == summary["accepted"] + summary["rejected"]
        over_http = run_command(tmp_path, "count", "heart_rate", "-s", server.url, "-o", "heart_rate.json")
        assert over_http.code == 0, over_http.stderr
        counted = json.loads((tmp_path / "heart_rate.json").read_text())
        assert total(counted) == summary["distinct"] < summary["accepted"]
        beside = answered(run_command(tmp_path, "count", "heart_rate", "-s", "readings"))
        assert beside == counted
        verdict = answered(run_command(tmp_path, "verify", "heart_rate.json", "-s", server.url))
        assert (verdict["verified"], verdict["differing"]) == (1, 0)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)
    with serve_command("--data", tmp_path / "readings") as server:
        again = answered(run_command(tmp_path, "heartrate", "send", "-s", server.url, *options))
        assert again["distinct"] == summary["distinct"]
        assert answered(run_command(tmp_path, "verify", "heart_rate.json", "-s", server.url))["verified"] == 1


def test_exports_and_downloads_are_listed_and_fetched_from_server_and_folder(tmp_path: Path) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        start = ("--start", "2024-12-31T23:50:00Z")
        summary = answered(run_command(tmp_path, "heartrate", "send", "-s", server.url, "--readings", "3000", *start))
        for source, ids in ((server.url, ["demo", "small", "large", "heart_rate"]), ("readings", ["heart_rate"])):
            listed = answered(run_command(tmp_path, "exports", "list", "-s", source))
            assert [export["id"] for export in listed] == ids
            export = listed[-1]
            assert (export["downloads"], export["rows"]) == (2, summary["distinct"])
            assert (export["patients"], export["event_types"]) == (10, ["heart_rate"])
            days = answered(run_command(tmp_path, "downloads", "list", "heart_rate", "-s", source))
            assert [day["start_time"][:10] for day in days] == ["2024-12-31", "2025-01-01"]
            fetched = answered(run_command(tmp_path, "downloads", "fetch", "heart_rate", "--dir", "kept", "-s", source))
            assert sum(file["rows"] for file in fetched["downloads"]) == summary["distinct"]
            counted = answered(run_command(tmp_path, "count", "heart_rate", "-s", "kept"))
            assert total(counted) == summary["distinct"]
            for path in (tmp_path / "kept" / "heart_rate").iterdir():
                path.unlink()
        assert answered(run_command(tmp_path, "count", "demo", "-s", server.url))["totals"]["bp_sys"] == 9412


def test_a_user_can_be_asked_for(tmp_path: Path) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        answered(run_command(tmp_path, "heartrate", "send", "-s", server.url))
        asked = ("heartrate", "query", "user_001", "--start", "2025-08-26", "--end", "2025-08-27T02:00+02:00")
        answer = answered(run_command(tmp_path, *asked, "-s", server.url))
        minutes = [point["timestamp"] for point in answer["data"]]
        assert answer["user_id"] == "user_001"
        assert answer["count"] == len(minutes) > 100
        assert minutes == sorted(set(minutes))
        assert {point["device_id"] for point in answer["data"]} >= {"device_a", "device_b"}
        of_b = answered(run_command(tmp_path, *asked, "--device", "device_b", MOCKEXPORT_SOURCE=server.url))
        assert {point["device_id"] for point in of_b["data"]} == {"device_b"}
        missing = run_command(tmp_path, *asked[:2], "nobody", *asked[3:], "-s", server.url)
        assert (missing.code, missing.stdout) == (3, "")
        assert "no heart rate of user 'nobody'" in missing.stderr
        wrong = run_command(tmp_path, *asked[:3], "--start", "2025-08-27", "--end", "2025-08-26", "-s", server.url)
        assert (wrong.code, wrong.stdout) == (2, "")
        assert "--start 2025-08-27 is after --end 2025-08-26" in wrong.stderr


def test_a_second_server_on_the_same_folder_is_refused_and_says_which(tmp_path: Path) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        second = run_command(tmp_path, "serve", "--port", "0", "--data", tmp_path / "readings")
        assert (second.code, second.stdout) == (2, "")
        assert len(second.stderr.splitlines()) == 1
        assert str(tmp_path / "readings") in second.stderr
        assert httpx.post(server.url + ONE, json=reading(), timeout=WAIT_SECONDS).status_code == 202
    with serve_command("--data", tmp_path / "readings") as server:
        assert httpx.post(server.url + ONE, json=reading(), timeout=WAIT_SECONDS).status_code == 202


def test_the_log_names_no_user_even_when_it_is_verbose(tmp_path: Path) -> None:
    with serve_command("--data", tmp_path / "readings", "--verbose") as server:
        with httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
            client.post(ONE, json=reading(user_id="somebody"))
            client.post(
                BATCH, json={"readings": [reading(user_id="somebody"), reading(user_id="somebody", heart_rate=0)]}
            )
            client.post(ONE, json=reading(user_id="somebody", timestamp="never"))
            parameters = {"user_id": "somebody", "start": "2024-01-15T00:00:00Z", "end": "2024-01-15T23:00:00Z"}
            assert client.get(ONE, params=parameters).status_code == 200
            assert client.get(ONE, params={**parameters, "end": "x"}).status_code == 400
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)
    told = "".join(server.told)
    assert f'"GET {ONE} HTTP/1.1" 200' in told
    assert f'"POST {BATCH} HTTP/1.1" 202' in told
    assert "somebody" not in told


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_only_their_owner_may_read_the_files(tmp_path: Path) -> None:
    with serve_command("--data", tmp_path / "readings") as server:
        answered(run_command(tmp_path, "heartrate", "send", "-s", server.url))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)
    found = [tmp_path / "readings", *(tmp_path / "readings").rglob("*")]
    assert len(found) > 3
    assert [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_sender_outlives_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    send = ("heartrate", "send", "-n", "6000", "--rate", "3000", "--burst", "500", "--retries", "30")
    with (
        serve_command("--data", tmp_path / "readings") as server,
        started(tmp_path, *send, "-s", server.url) as sender,
        httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
    ):
        wait_while_running(sender, lambda: 'status="202"' in client.get("/metrics").text)
        server.kill()
        with serve_command("--data", tmp_path / "readings", "--port", server.port) as again:
            stdout, stderr = sender.communicate(timeout=WAIT_SECONDS * 2)
            assert sender.returncode == 0, stderr
            summary = json.loads(stdout)
            counted = answered(run_command(tmp_path, "count", "heart_rate", "-s", again.url))
    assert summary["tried_again"] > 0
    assert (summary["sent"], summary["accepted"], total(counted)) == (6000, 6000, summary["distinct"])


def test_journal_priorities_and_age_are_as_the_options_say(
    tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    options = ("--journal", tmp_path / "journal", "--priority", "watch=1,device_a=2", "--retain", "36h")
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    parameters = {"user_id": "user_123", "start": "2024-01-01T00:00:00Z", "end": (now + timedelta(days=1)).isoformat()}
    with (
        serve_command("--data", tmp_path / "readings", *options) as server,
        httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
    ):
        assert (tmp_path / "journal" / "journal.sqlite").exists()
        for device, rate in (("device_a", 60), ("watch", 90), ("other", 120)):
            body = reading(device_id=device, heart_rate=rate, timestamp=now.isoformat())
            assert client.post(ONE, json=body).status_code == 202
        assert client.post(ONE, json=reading()).status_code == 202  # of 2024: older than 36 hours
        eventually(lambda: client.get(ONE, params=parameters).json()["count"] == 1)
        (point,) = client.get(ONE, params=parameters).json()["data"]
        assert (point["heart_rate"], point["device_id"]) == (90.0, "watch")
        assert point["timestamp"] == f"{now:%Y-%m-%dT%H:%M}:00Z"
