"""FHIR exports and tokens behind a load balancer: real servers, of which any may get the next request, or die."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.commands import run_command
from tests.heartrate.bodies import reading
from tests.heartrate.postgres.balancing import balancing
from tests.heartrate.postgres.nodes import running, three_nodes
from tests.heartrate.serving import BATCH
from tests.smart.keys import CLIENT, write_clients, write_key
from tests.sources import WAIT_SECONDS

from mockexport.bulk_wire import fhir_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.heartrate.postgres.server import Cluster

pytestmark = pytest.mark.postgres

USERS, DAYS = 3, 5
GROUP = f"group/{fhir_id('heart_rate')}"


def post_readings(url: str) -> None:
    readings = [
        reading(user_id=f"user_{user}", timestamp=f"2024-01-{day:02}T10:00:00Z")
        for day in range(1, DAYS + 1)
        for user in range(USERS)
    ]
    answer = httpx.post(url + BATCH, json={"readings": readings}, timeout=WAIT_SECONDS, trust_env=False)
    assert answer.status_code == 202, answer.text


def kinds(postgres: Cluster, database: str) -> list[str]:
    found = postgres.run("SELECT kind FROM mockexport_heartrate.document ORDER BY 1", database)
    return [kind for (kind,) in found]


def command(folder: Path, *arguments: str) -> str:
    ended = run_command(folder, *arguments)
    assert ended.code == 0, ended.stderr
    return ended.stdout


def test_an_export_whose_server_was_killed_is_counted_whole_from_another(
    tmp_path: Path, postgres: Cluster, database: str, url: str
) -> None:
    with running(three_nodes(tmp_path, url)[:2]) as nodes, balancing([node.url for node in nodes]) as balancer:
        post_readings(balancer.url)
        export = (GROUP, "-s", f"fhir+{balancer.url}/fhir", "--state", "job.json")
        command(tmp_path, "exports", "start", *export)
        (began,) = [handed.node for handed in balancer.handed if "$export" in handed.path]
        nodes[began].kill()
        counted = json.loads(command(tmp_path, "count", *export))
        after = [handed for handed in balancer.handed if "/fhir/jobs/" in handed.path]
        assert {handed.node for handed in after} == {1 - began}
        assert counted["totals"] == {"Observation": USERS * DAYS, "Patient": USERS}
        assert [(handed.method, handed.status) for handed in after if handed.method == "DELETE"] == [("DELETE", 202)]
        assert kinds(postgres, database) == []


def test_a_client_with_tokens_is_served_by_whichever_node_gets_each_request(
    tmp_path: Path, postgres: Cluster, database: str, url: str
) -> None:
    write_clients(tmp_path / "clients.json")
    write_key(tmp_path / "key.json")
    nodes = three_nodes(tmp_path, url)
    for node in nodes:
        node.arguments = [*node.arguments, "--fhir-clients", str(tmp_path / "clients.json"), "--files-of", "2"]
    with running(nodes), balancing([node.url for node in nodes]) as balancer:
        post_readings(balancer.url)
        smart = ("-s", f"fhir+{balancer.url}/fhir", "--client-id", CLIENT, "--key", "key.json")
        counted = json.loads(command(tmp_path, "count", GROUP, *smart))
        assert counted["totals"] == {"Observation": USERS * DAYS, "Patient": USERS}
        answered = [handed for handed in balancer.handed if handed.path.startswith("/fhir/jobs/")]
        assert {handed.node for handed in answered} == {0, 1, 2}
        assert {handed.status for handed in answered} == {200, 202}
        assert set(kinds(postgres, database)) == {"smart-assertion", "smart-token"}
