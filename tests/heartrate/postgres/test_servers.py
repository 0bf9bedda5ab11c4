"""Identical servers: real processes over one folder and one database, of which any may answer, lead or die."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.commands import run_command, serve_command
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH, ONE
from tests.sources import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Serving
    from tests.heartrate.postgres.server import Cluster

pytestmark = pytest.mark.postgres

FHIR = "application/fhir+json"
DAY = {"user_id": "user_123", "start": "2024-01-15", "end": "2024-01-15"}


@contextmanager
def two_servers(data: Path, url: str) -> Iterator[list[tuple[Serving, httpx.Client]]]:
    with (
        serve_command("--data", data, "--journal", url) as one,
        serve_command("--data", data, "--journal", url) as two,
        httpx.Client(base_url=one.url, timeout=WAIT_SECONDS) as first,
        httpx.Client(base_url=two.url, timeout=WAIT_SECONDS) as second,
    ):
        yield [(one, first), (two, second)]


def post(client: httpx.Client, second: int, rate: int = 75) -> None:
    body = {"readings": [reading(timestamp=f"2024-01-15T10:{second // 60:02}:{second % 60:02}Z", heart_rate=rate)]}
    assert client.post(BATCH, json=body).status_code == 202


def health(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/health")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def count(folder: Path, url: str) -> int:
    counted = run_command(folder, "count", "heart_rate", "-s", url)
    assert counted.code == 0, counted.stderr
    return int(json.loads(counted.stdout)["totals"]["heart_rate"])


def test_a_reading_is_visible_at_every_server_from_its_202_on(tmp_path: Path, url: str) -> None:
    with two_servers(tmp_path / "data", url) as servers:
        for number in range(20):
            writer, reader = servers[number % 2][1], servers[1 - number % 2][1]
            post(writer, 60 * number, 60 + number)
            found = reader.get(ONE, params=DAY).json()["data"]
            assert [point["heart_rate"] for point in found] == [60.0 + each for each in range(number + 1)]


def test_a_page_of_one_server_is_told_of_readings_that_another_one_stores(
    tmp_path: Path, url: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    told: list[Any] = []
    opened = threading.Event()

    def watch(client: httpx.Client) -> None:
        with client.stream("GET", "/page/heart-rate", params={"user": "user_123"}) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": open"  # its headers may come before it watches
            opened.set()
            lines = (line for line in lines if line.startswith("data: "))
            told.extend(json.loads(next(lines).removeprefix("data: ")))

    with two_servers(tmp_path / "data", url) as ((_, one), (_, other)):
        watcher = threading.Thread(target=watch, args=(other,))
        watcher.start()
        assert opened.wait(WAIT_SECONDS)
        post(one, 5, 88)
        eventually(lambda: told)
        watcher.join()
    assert [(fresh["heart_rate"], fresh["device_id"]) for fresh in told] == [(88.0, reading()["device_id"])]


def test_a_day_has_the_same_etag_and_bytes_and_count_at_every_server(
    tmp_path: Path, url: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    def answers() -> list[Any]:
        found = []
        for _, client in servers:
            listed = client.get("/api/export/heart_rate").json()
            (day,) = listed["data"]["download_ids"]
            download = client.get(f"/api/export/heart_rate/{day}/data")
            found.append((listed, download.headers["etag"], download.content))
        return found

    with two_servers(tmp_path / "data", url) as servers:
        for number in range(50):
            post(servers[number % 2][1], number)
        one, two = answers()
        assert one == two
        eventually(lambda: all(health(client)["lag"]["readings"] == 0 for _, client in servers))
        assert answers() == [one, two]  # the table has them now
        assert [count(tmp_path, server.url) for server, _ in servers] == [50, 50]


def test_one_server_leads_and_the_other_takes_over_when_that_one_is_killed(
    tmp_path: Path, url: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    with two_servers(tmp_path / "data", url) as servers:
        told = [health(client) for _, client in servers]
        assert [(each["role"], each["term"], each["slot"]) for each in told] == [("leader", 1, 0), ("follower", 1, 1)]
        (leader, first), (_, second) = servers
        for number in range(30):
            post((first, second)[number % 2], number)
        leader.process.send_signal(signal.SIGKILL)
        leader.process.wait(WAIT_SECONDS)
        post(second, 30)
        eventually(lambda: (health(second)["role"], health(second)["term"]) == ("leader", 2))
        eventually(lambda: health(second)["lag"]["readings"] == 0)
        assert count(tmp_path, servers[1][0].url) == 31
        assert "mockexport_heartrate_leads 1.0" in second.get("/metrics").text


def test_a_server_is_unhealthy_while_the_database_is_away_and_says_why_without_secrets(
    tmp_path: Path, postgres: Cluster, database: str, eventually: Callable[[Callable[[], object]], None]
) -> None:
    url = postgres.url(database)
    with (
        serve_command("--data", tmp_path / "data", "--journal", url) as server,
        httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
    ):
        post(client, 0)
        began = client.get("/fhir/Group/demo/$export", headers={"Accept": FHIR, "Prefer": "respond-async"})
        status = began.headers["Content-Location"]
        postgres.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        eventually(lambda: client.get("/health").status_code == 503)
        detail = client.get("/health").json()["detail"]
        assert f"the journal postgresql://127.0.0.1:{postgres.port}/{database}" in detail
        assert "postgres@" not in detail
        refused = client.post(BATCH, json={"readings": [reading()]})
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert client.get(ONE, params=DAY).status_code == 503  # another server may have newer readings
        unknown = client.get(status)
        assert (unknown.status_code, "Retry-After" in unknown.headers) == (503, True)
        assert unknown.json()["issue"][0]["code"] == "transient"
        postgres.run(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        eventually(lambda: client.get("/health").status_code == 200)
        assert client.get(status).status_code == 200
        post(client, 1)
        assert count(tmp_path, server.url) == 2


def test_a_folder_of_a_shared_journal_is_refused_as_a_source_and_with_a_journal_of_its_own(
    tmp_path: Path, url: str
) -> None:
    data = tmp_path / "data"
    place = url.replace("postgres@", "")
    with (
        serve_command("--data", data, "--journal", url) as server,
        httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
    ):
        post(client, 0)
        asked = run_command(tmp_path, "count", "heart_rate", "-s", "data")
        assert (asked.code, asked.stdout) == (2, "")
        assert f"readings of data are in the journal {place}, too: name the URL of a server" in asked.stderr
        busy = run_command(tmp_path, "serve", "--port", "0", "--data", "data")
        assert (busy.code, "is in use by another process" in busy.stderr) == (2, True)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)
    other = run_command(tmp_path, "serve", "--port", "0", "--data", "data")
    assert other.code == 2
    assert f"was last in the database {place}: name that URL as the journal" in other.stderr
    assert "--replace-journal" in other.stderr


def test_a_folder_with_a_journal_of_its_own_is_refused_until_the_journal_is_replaced(tmp_path: Path, url: str) -> None:
    data = tmp_path / "data"
    with serve_command("--data", data) as server, httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client:
        post(client, 0)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(WAIT_SECONDS)
    refused = run_command(tmp_path, "serve", "--port", "0", "--data", "data", "--journal", url)
    assert refused.code == 2
    assert f"that of data was last in {data}" in refused.stderr or "that of data was last in data" in refused.stderr
    with (
        serve_command("--data", data, "--journal", url, "--replace-journal") as server,
        httpx.Client(base_url=server.url, timeout=WAIT_SECONDS) as client,
    ):
        post(client, 1)
        assert count(tmp_path, server.url) == 2  # that of the old journal was in the table by its end
        assert [point["heart_rate"] for point in client.get(ONE, params=DAY).json()["data"]] == [75.0]


def test_a_fhir_export_is_the_same_at_every_server_until_it_is_deleted_at_one(tmp_path: Path, url: str) -> None:
    with two_servers(tmp_path / "data", url) as ((_, one), (_, two)):
        kick_off = {"Accept": FHIR, "Prefer": "respond-async", "Host": "balancer.example"}
        began = one.get("/fhir/Group/demo/$export", headers=kick_off)
        assert began.status_code == 202
        status = httpx.URL(began.headers["Content-Location"]).path
        manifests = [client.get(status, headers={"Host": "balancer.example"}) for client in (one, two)]
        assert [answer.status_code for answer in manifests] == [200, 200]
        assert manifests[0].json() == manifests[1].json()
        assert two.delete(status).status_code == 202
        assert [client.get(status).status_code for client in (one, two)] == [404, 404]
