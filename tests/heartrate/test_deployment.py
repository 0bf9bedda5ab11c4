"""The files of docs/scale for several nodes: what reads them takes them, and they agree with the server."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from configparser import RawConfigParser
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.heartrate.bodies import reading
from tests.heartrate.serving import BATCH, ONE, FakeService, served
from tests.import_graph import ROOT
from tests.server.fhir.walking import FILES, OTHER, FhirSource, files, kick_off, manifest
from tests.server.serving import serving
from tests.sources import WAIT_SECONDS
from typer.main import get_command

import mockexport
from mockexport.cli.serve import app
from mockexport.heartrate.journal.postgres.address import address_of
from mockexport.heartrate.node import FIRST_READ_SECONDS, FIRST_TABLE_SECONDS
from mockexport.server import Fhir
from mockexport.shared import InMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport import Download

FOLDER = ROOT / "docs" / "scale"
KUBERNETES, MACHINES = FOLDER / "kubernetes", FOLDER / "machines"
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)


def documents() -> dict[str, Any]:
    """The documents for Kubernetes, by kind."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(KUBERNETES.glob("*.yaml"))]
    return {document["kind"]: document for text in texts for document in yaml.safe_load_all(text)}


def pod() -> Any:
    return documents()["Deployment"]["spec"]["template"]["spec"]


def container() -> Any:
    (found,) = pod()["containers"]
    return found


def unit() -> RawConfigParser:
    """The systemd unit, with the last value of each name."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(MACHINES / "mockexport.service", encoding="utf-8")
    return parser


def command_lines() -> dict[str, list[str]]:
    return {"kubernetes": container()["args"], "machines": shlex.split(unit()["Service"]["ExecStart"])}


def parsed(line: list[str]) -> dict[str, Any]:
    """What our own parser makes of a command line; it refuses what it doesn't know."""
    assert line[0].rpartition("/")[2] == "mockexport"
    assert line[1] == "serve"
    found: dict[str, Any] = get_command(app).make_context("serve", line[2:]).params
    return found


@pytest.mark.parametrize("where", ["kubernetes", "machines"])
def test_our_parser_takes_each_command_line_and_each_is_a_node_of_several(where: str) -> None:
    line = command_lines()[where]
    options = parsed(line)
    assert options["data"] == "s3://bucket/heartrate"
    assert (options["host"], options["port"], options["log_format"]) == ("0.0.0.0", 8000, "json")
    assert options["token_file"]
    (journal,) = re.findall(r"--journal[= ](\S+)", " ".join(line))
    assert options["journal"] == journal
    assert address_of(journal).place.endswith("/heartrate"), "libpq takes it, and it has no password"
    url = urlsplit(journal)
    assert (url.scheme, url.path, url.password, url.username) == ("postgresql", "/heartrate", None, None)
    assert parse_qs(url.query)["sslmode"] == ["verify-full"]


def test_the_deployment_finds_its_parts() -> None:
    found, labels = documents(), {"app.kubernetes.io/name": "heartrate"}
    deployment = found["Deployment"]["spec"]
    selectors = [
        deployment["selector"]["matchLabels"],
        deployment["template"]["metadata"]["labels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod()["topologySpreadConstraints"]),
    ]
    assert selectors == [labels] * 6
    assert (deployment["replicas"], found["PodDisruptionBudget"]["spec"]["maxUnavailable"]) == (3, 1)
    assert pod()["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert container()["image"] == f"registry.example/mockexport:{mockexport.__version__}"
    assert [(port["name"], port["containerPort"]) for port in container()["ports"]] == [("http", 8000)]
    assert [port["targetPort"] for port in found["Service"]["spec"]["ports"]] == ["http"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod()["volumes"]}
    named = re.findall(r"/etc/heartrate/\w+", " ".join(container()["args"]))
    assert set(named) <= set(mounts)


def test_the_node_runs_without_rights() -> None:
    assert (pod()["securityContext"]["runAsNonRoot"], pod()["securityContext"]["runAsUser"]) == (True, 10001)
    assert "USER 10001:10001" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    script = (ROOT / "tests" / "packaging" / "build_image").read_text(encoding="utf-8")
    assert {"heartrate", "postgres", "server"} <= set(re.findall(r"--extra (\w+)", script)), "what the image must have"


def test_the_database_is_the_one_that_the_nodes_name_and_a_commit_is_in_two_places() -> None:
    cluster = documents()["Cluster"]
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    assert f"postgresql://{name}-rw/{spec['bootstrap']['initdb']['database']}?" in " ".join(container()["args"])
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in container()["env"]
        if "valueFrom" in variable
    }
    assert secrets == {
        "PGUSER": {"name": f"{name}-app", "key": "username"},
        "PGPASSWORD": {"name": f"{name}-app", "key": "password"},
    }
    assert f"{name}-ca" in [volume.get("secret", {}).get("secretName") for volume in pod()["volumes"]]
    assert spec["instances"] == 3
    durable = {"method": "any", "number": 1, "failoverQuorum": True, "dataDurability": "required"}
    assert spec["postgresql"]["synchronous"] == durable


def test_a_node_that_cannot_store_is_not_ready_but_is_not_restarted() -> None:
    service = FakeService()
    paths = {name: container()[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe", "startupProbe")}
    with served(service, token="secret") as client:
        assert {client.get(path).status_code for path in paths.values()} == {200}
        service.told = "PostgreSQL can't be reached"
        assert client.get(paths["readinessProbe"]).status_code == 503
        assert client.get(paths["livenessProbe"]).json() == {"status": "alive"}
        assert client.get(paths["startupProbe"]).status_code == 200
    assert {container()[name]["httpGet"]["port"] for name in paths} == {"http"}


def test_a_node_that_reads_a_long_journal_at_its_start_is_given_the_time_that_it_takes_itself() -> None:
    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > FIRST_READ_SECONDS + FIRST_TABLE_SECONDS


def test_the_unit_hands_over_what_the_command_line_names() -> None:
    text = (MACHINES / "mockexport.service").read_text(encoding="utf-8")
    handed = set(re.findall(r"^LoadCredential=(\w+):/etc/mockexport/\w+$", text, re.MULTILINE))
    assert handed == {"token", "pgpass"} == set(re.findall(r"%d/(\w+)", text))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is missing")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (MACHINES / "mockexport.service").read_text(encoding="utf-8")
    file = tmp_path / "mockexport.service"
    file.write_text(text.replace("/opt/mockexport/bin/mockexport", sys.executable))
    run = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(POSTGRES is None, reason="PostgreSQL is missing")
def test_postgresql_takes_its_configuration(tmp_path: Path) -> None:
    def value(name: str, text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "postgresql.conf").write_text(text)
        command = [str(POSTGRES), "-C", name, "-D", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    text = (MACHINES / "postgresql.conf").read_text(encoding="utf-8")
    asked = {name: value(name, text) for name in ("synchronous_standby_names", "synchronous_commit", "ssl")}
    assert {name: run.stdout.strip() for name, run in asked.items()} == {
        "synchronous_standby_names": "ANY 1 (node1, node2, node3)",
        "synchronous_commit": "on",
        "ssl": "on",
    }
    assert value("ssl", text + "no_such_setting = 1\n").returncode != 0, "a wrong name would be told"


# The load balancer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def certificate() -> bytes:
    """A certificate of its own, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem) + private


@contextmanager
def balanced(folder: Path, *nodes: str) -> Iterator[httpx.Client]:
    """Run HAProxy by our configuration before servers on this machine; what the block gets is its client."""
    (folder / "certificate.pem").write_bytes(certificate())
    port = free_port()
    text = (MACHINES / "haproxy.cfg").read_text(encoding="utf-8")
    text = text.replace("/etc/haproxy/certificate.pem", str(folder / "certificate.pem"))
    text = text.replace("bind :443", f"bind 127.0.0.1:{port}").replace("log /dev/log local0", "log stderr local0")
    text = text.replace("default-server port 8000 ", "default-server ").replace("inter 2s", "inter 100ms")
    text = text.replace("http_req_rate(10s)", "http_req_rate(100s)")  # a busy machine asks more slowly
    for number, node in enumerate(nodes, start=1):
        text = text.replace(f"node{number}.example:8000", node.removeprefix("http://").rstrip("/"))
    (folder / "haproxy.cfg").write_text(text)
    command = ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            client = httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False, timeout=WAIT_SECONDS)
            with client:
                deadline = time.monotonic() + WAIT_SECONDS
                while not _answers(client):
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                yield client
        finally:
            process.kill()


def wait_for_line(log: Path, text: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.gate
@pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is missing")
def test_behind_the_load_balancer_a_node_that_ends_costs_no_post_and_one_that_is_not_ready_gets_none(
    tmp_path: Path,
) -> None:
    services = [FakeService() for _ in range(3)]
    with ExitStack() as stack:
        webs = [ExitStack() for _ in services]
        urls = [
            str(stack.enter_context(web).enter_context(served(service)).base_url)
            for web, service in zip(webs, services, strict=True)
        ]
        client = stack.enter_context(balanced(tmp_path, *urls))
        readings = {"readings": [reading()]}
        assert {client.post(BATCH, json=readings).status_code for _ in range(30)} == {202}
        assert all(service.accepted for service in services), "each gets a share"
        webs[0].close()
        assert {client.post(BATCH, json=readings).status_code for _ in range(30)} == {202}
        services[1].told = "PostgreSQL can't be reached"
        wait_for_line(tmp_path / "log", "Server nodes/node2 is DOWN")
        services[1].accepted.clear()
        assert {client.post(BATCH, json=readings).status_code for _ in range(30)} == {202}
        assert not services[1].accepted
        assert client.get("/metrics").status_code == 403
        client.get(ONE, params={"user_id": "secret_user", "start": "2024-01-15", "end": "2024-01-15"})
        wait_for_line(tmp_path / "log", f"GET {ONE}")  # it is written once the answer was sent
    log = (tmp_path / "log").read_text()
    assert f"POST {BATCH}" in log
    assert "secret_user" not in log


@pytest.mark.gate
@pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is missing")
def test_behind_the_load_balancer_each_request_for_an_export_may_go_to_any_node(tmp_path: Path) -> None:
    shared = InMemory()
    asked: list[int] = []

    class Source(FhirSource):
        def open(self, download: Download, offset: int = 0, **watch: Any) -> Any:
            asked.extend(number for number, node in enumerate(nodes) if node is self)
            return super().open(download, offset, **watch)

    nodes = [Source({}) for _ in range(3)]
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(node, fhir=Fhir(documents=shared))) for node in nodes]
        client = stack.enter_context(balanced(tmp_path, *urls))
        for _ in range(4):
            document = manifest(client, urlsplit(kick_off(client)).path)
            output = [{**entry, "url": urlsplit(entry["url"]).path} for entry in document["output"]]
            assert files(client, {"output": output}) == [*FILES.values(), *OTHER.values()]
    assert set(asked) == {0, 1, 2}


@pytest.mark.gate
@pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is missing")
def test_the_load_balancer_limits_each_client(tmp_path: Path) -> None:
    with served(FakeService()) as web, balanced(tmp_path, *[str(web.base_url)] * 3) as client:
        statuses = [client.get("/health/live").status_code for _ in range(650)]
        refused = client.get("/health/live")
    assert statuses[0] == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
