"""The configuration files of docs/scale say what the programs that read them expect, and name this version."""

from __future__ import annotations

import ast
import importlib
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from tests.cluster import bench
from tests.cluster.machines import ROOT
from typer.main import get_command

import mockexport
from mockexport.cli.app import app
from mockexport.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = ROOT / "docs" / "scale"
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
IMAGE = f"registry.example/mockexport:{mockexport.__version__}"


@pytest.fixture(scope="module")
def cluster() -> Any:
    return documents()["DaskCluster"]


@pytest.fixture(scope="module")
def job() -> Any:
    return documents()["Job"]["spec"]["template"]["spec"]


def command_of(name: str) -> Any:
    """Load one of Dask's commands, late: it takes a second."""
    return importlib.import_module(f"distributed.cli.dask_{name}").main


def documents() -> dict[str, Any]:
    text = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def container(pod: Any) -> Any:
    (found,) = pod["containers"]
    return found


def options(command: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """What a program of Dask's makes of its arguments; it refuses those that it doesn't know."""
    found: dict[str, Any] = command.make_context("dask", list(arguments)).params
    return found


def test_the_page_tells_of_each_file_and_each_is_there() -> None:
    told = set(re.findall(r"\(scale/([\w./-]+)\)", PAGE))
    assert told == {file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file()}


def test_all_containers_run_one_image_of_this_version(cluster: Any, job: Any) -> None:
    pods = (cluster["spec"]["scheduler"]["spec"], cluster["spec"]["worker"]["spec"], job)
    assert {container(pod)["image"] for pod in pods} == {IMAGE}


def test_the_operator_finds_what_it_needs(cluster: Any) -> None:
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    scheduler = container(cluster["spec"]["scheduler"]["spec"])
    assert scheduler["name"] == "scheduler"
    assert {port["name"]: port["containerPort"] for port in scheduler["ports"]} == {
        "tcp-comm": 8786,
        "http-dashboard": 8787,
    }
    service = cluster["spec"]["scheduler"]["service"]
    assert service["selector"] == {
        "dask.org/cluster-name": cluster["metadata"]["name"],
        "dask.org/component": "scheduler",
    }
    assert {port["targetPort"] for port in service["ports"]} == {"tcp-comm", "http-dashboard"}
    assert container(cluster["spec"]["worker"]["spec"])["name"] == "worker"


def test_dask_takes_the_arguments_and_a_worker_has_as_many_threads_as_processors(cluster: Any) -> None:
    scheduler = container(cluster["spec"]["scheduler"]["spec"])["args"]
    assert scheduler[:2] == ["dask", "scheduler"]
    assert options(command_of("scheduler"), scheduler[2:])["port"] is None  # 8786, where nothing else is said

    worker = container(cluster["spec"]["worker"]["spec"])
    assert worker["args"][:2] == ["dask", "worker"]
    told = options(command_of("worker"), worker["args"][2:])
    assert (told["name"], told["n_workers"]) == ("$(DASK_WORKER_NAME)", "1")
    assert str(told["nthreads"]) == worker["resources"]["limits"]["cpu"]


def test_the_job_counts_on_that_cluster_what_the_workers_see(cluster: Any, job: Any) -> None:
    counting = container(job)
    program, name, *arguments = counting["args"]
    assert program == "mockexport"
    command: Any = get_command(app)
    context = command.commands[name].make_context(name, arguments)
    assert (context.params["export"], context.params["source"]) == ("trial", "/exports")

    environment = {variable["name"]: variable["value"] for variable in counting["env"]}
    assert Settings.from_environment(environment).scheduler == f"tcp://{cluster['metadata']['name']}-scheduler:8786"
    for pod in (cluster["spec"]["worker"]["spec"], job):
        mounted = {mount["mountPath"]: mount["name"] for mount in container(pod)["volumeMounts"]}
        claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
        assert claims[mounted["/exports"]] == "exports"


def test_slurm_gets_one_worker_a_job_in_an_environment_of_this_version() -> None:
    text = (FOLDER / "jobqueue.yaml").read_text(encoding="utf-8")
    slurm = yaml.safe_load(text)["jobqueue"]["slurm"]
    assert (slurm["processes"], slurm["cores"]) == (1, 16)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", slurm["walltime"])
    assert f"mockexport[cluster]=={mockexport.__version__}" in text
    script = (FOLDER / "slurm.py").read_text(encoding="utf-8")
    ast.parse(script)
    assert "SLURMCluster()" in script  # so that the file above is all that configures it


def test_the_hosts_of_ssh_are_names_and_the_command_of_the_page_is_one() -> None:
    hosts = (FOLDER / "hosts.txt").read_text(encoding="utf-8").split()
    assert len(hosts) == len(set(hosts)) == 3
    (command,) = re.findall(r"^    dask ssh (.*)$", PAGE, re.MULTILINE)
    told = options(command_of("ssh"), [part.replace("docs/scale", str(FOLDER)) for part in command.split()])
    assert (told["hostfile"], told["n_workers"]) == (str(FOLDER / "hosts.txt"), 1)
    assert f"mockexport[cluster]=={mockexport.__version__}" in PAGE


def test_the_model_of_the_page_is_what_the_program_says(capsys: pytest.CaptureFixture[str]) -> None:
    bench.model()
    assert capsys.readouterr().out in PAGE
