"""What a cluster can't do is told in one line, before any work, with the exit code that it has everywhere."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import write_export
from tests.cluster.conftest import odd_worker
from tests.cluster.machines import ROOT, Cluster
from tests.cluster.sources import Deadly, Faulty, HereAlone
from tests.commands import run_command, serve_command
from tests.sources import EXPORT as TRIAL
from tests.sources import csv_body

from mockexport import NotFoundError, UnreachableError, UntrustedDataError, UsageError, count
from mockexport.pipeline.dask import cluster_workers
from mockexport.sources.http import HttpSource

if TYPE_CHECKING:
    from pathlib import Path

    from mockexport.source import Source


def one_line(stderr: str) -> str:
    """The one line that was said."""
    found = re.fullmatch(r"mockexport: error: (.*)\n", stderr)
    assert found, stderr
    return found.group(1)


def refusal(cluster: Cluster, source: Source, kind: type[Exception]) -> str:
    with pytest.raises(kind) as refused:
        count(source, TRIAL, start_workers=partial(cluster_workers, scheduler=cluster.address))
    assert type(refused.value) is kind
    return str(refused.value)


def stub(folder: Path, name: str, text: str) -> str:
    """A folder with a package of that name, for PYTHONPATH."""
    (folder / "stub" / name).mkdir(parents=True)
    (folder / "stub" / name / "__init__.py").write_text(text, encoding="utf-8")
    return str(folder / "stub")


@pytest.fixture
def cluster(lone_scheduler: Cluster) -> Cluster:
    """One worker can refuse what many would."""
    return lone_scheduler.with_workers(1)


# ---- The command line ----


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("host", "the scheduler 'host' is not a valid address: missing port number"),
        pytest.param(
            "http://host:8786",
            "the scheduler 'http://host:8786' is not a valid address: unknown address scheme",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "tcp://[", "the scheduler 'tcp://[' is not a valid address: invalid address", marks=pytest.mark.slow
        ),
        ("tls://127.0.0.1:8786", "tls://127.0.0.1:8786 needs certificates; Dask's configuration names them"),
    ],
)
def test_an_address_that_is_none_is_a_usage_error(tmp_path: Path, address: str, told: str) -> None:
    done = run_command(tmp_path, "count", "--scheduler", address)
    assert (done.code, done.stdout) == (2, "")
    assert one_line(done.stderr).startswith(told)


@pytest.mark.gate
def test_a_scheduler_that_is_not_there_is_waited_for_as_long_as_told(tmp_path: Path) -> None:
    done = run_command(tmp_path, "count", "--scheduler", "tcp://127.0.0.1:9", "--timeout", "0.5")
    assert (done.code, done.stdout) == (5, "")
    assert one_line(done.stderr).startswith("no Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s")


def test_jobs_and_a_scheduler_exclude_each_other(tmp_path: Path) -> None:
    done = run_command(tmp_path, "count", "-j", "2", "--scheduler", "tcp://127.0.0.1:9")
    assert done.code == 2
    assert "cannot be used together" in one_line(done.stderr)


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path) -> None:
    missing = stub(tmp_path, "distributed", "raise ModuleNotFoundError('hidden by the test')")
    done = run_command(tmp_path, "count", "--scheduler", "tcp://127.0.0.1:9", PYTHONPATH=missing)
    assert done.code == 2
    assert one_line(done.stderr) == "counting on a Dask cluster needs an extra; pip install 'mockexport[cluster]'"


def test_commands_that_a_cluster_is_not_for_pass_over_the_environment(tmp_path: Path) -> None:
    fetch = ("downloads", "fetch", "demo", "--dir", "exports")
    assert run_command(tmp_path, *fetch, MOCKEXPORT_SCHEDULER="tcp://127.0.0.1:9").code == 0


# ---- The cluster ----


@pytest.mark.gate
def test_a_scheduler_without_workers_is_told_after_a_while(lone_scheduler: Cluster, tmp_path: Path) -> None:
    done = run_command(tmp_path, "count", "--scheduler", lone_scheduler.address, "--timeout", "3")
    assert (done.code, done.stdout) == (5, "")
    assert one_line(done.stderr).startswith(f"the scheduler {lone_scheduler.address} has no workers")


@pytest.mark.gate
@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("__version__ = '9.9.9'", "has mockexport 9.9.9, this machine"),
        pytest.param(
            "raise ModuleNotFoundError('hidden by the test', name='mockexport')",
            "has no mockexport, this machine",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_worker_with_another_version_or_none_is_refused(
    lone_scheduler: Cluster, tmp_path: Path, package: str, told: str
) -> None:
    with odd_worker(lone_scheduler, PYTHONPATH=stub(tmp_path, "mockexport", package)):
        done = run_command(tmp_path, "count", "demo", "--scheduler", lone_scheduler.address)
    assert (done.code, done.stdout) == (2, "")
    assert re.fullmatch(rf"worker tcp://\S+ {told} \S+; the whole cluster .*", one_line(done.stderr))


@pytest.mark.gate
def test_a_scheduler_without_mockexport_is_refused(tmp_path: Path) -> None:
    missing = stub(tmp_path, "mockexport", "raise ImportError('hidden by the test')")
    with Cluster(tmp_path, settings={"PYTHONPATH": missing}) as cluster, odd_worker(cluster, PYTHONPATH=str(ROOT)):
        done = run_command(tmp_path, "count", "demo", "--scheduler", cluster.address)
    assert (done.code, done.stdout) == (2, "")
    assert one_line(done.stderr).startswith(f"the scheduler {cluster.address} has no mockexport, this machine ")


@pytest.mark.gate
def test_a_source_that_workers_do_not_see_is_refused(cluster: Cluster) -> None:
    told = refusal(cluster, HereAlone({"a": csv_body(10)}), NotFoundError)
    assert re.fullmatch(r"worker tcp://\S+ cannot see the source: no folder memory", told)


@pytest.mark.gate
def test_a_source_that_workers_see_otherwise_is_refused(cluster: Cluster) -> None:
    told = refusal(cluster, HereAlone({"a": csv_body(10)}, elsewhere=["x", "y"]), UntrustedDataError)
    assert re.fullmatch(r"worker \S+ sees another source memory, with the exports x, y; it must be the same .*", told)


@pytest.mark.gate
def test_localhost_is_explained_to_whoever_has_workers_elsewhere(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.pipeline.dask.preflight.this_network", lambda: "another")
    write_export(tmp_path, TRIAL, a=csv_body(10))
    with serve_command("-s", tmp_path) as server, closing(HttpSource(server.url)) as source:
        told = refusal(cluster, source, UsageError)
        assert re.fullmatch(rf"worker \S+ is elsewhere, where {server.url} is another server or none; name .*", told)


# ---- In the middle of it ----


@pytest.mark.gate
def test_a_part_that_kills_its_workers_is_given_up(lone_scheduler: Cluster) -> None:
    lone_scheduler.with_workers(1)
    told = refusal(lone_scheduler, Deadly({"a": csv_body(10)}), UnreachableError)
    assert re.fullmatch(r"1 workers died at the same task, the last one tcp://\S+; their memory may be short", told)


@pytest.mark.gate
def test_a_bug_on_a_worker_is_the_same_bug_here(cluster: Cluster) -> None:
    assert refusal(cluster, Faulty({"a": csv_body(10)}), LookupError) == "a at 0"
