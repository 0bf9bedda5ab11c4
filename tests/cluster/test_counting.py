"""A count on a cluster is the count of one machine, from every source, and behaves as it does there."""

from __future__ import annotations

import pickle
import re
import textwrap
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import write_export
from tests.cluster.conftest import odd_worker
from tests.cluster.machines import COMMITTED, ROOT
from tests.cluster.sources import Silent, Waiting, Watched
from tests.commands import run_command, serve_command
from tests.conftest import KERNELS
from tests.fhir.folders import bulk_data_client, smart_fetch
from tests.pairing import by_default, pairs
from tests.sources import EXPORT as TRIAL
from tests.sources import HEADER, ROW, csv_body

from mockexport import UntrustedDataError, count, fetch, open_source
from mockexport.pipeline.checkpoint import Checkpoint, Subject
from mockexport.pipeline.dask import cluster_workers
from mockexport.pipeline.folding import FoldTask, fold_task
from mockexport.pipeline.progress import BUSY, RUNNING, TaskStatus
from mockexport.pipeline.splits import Split
from mockexport.tally import TallySpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.cluster.machines import Cluster

    from mockexport import Download
    from mockexport.pipeline.progress import ProgressCounters

WHERE = ["mock", "http", "folder"]


def count_everywhere(cluster: Cluster, folder: Path, where: str, export: str) -> bytes:
    """The answer of a count on the cluster: the very bytes."""
    answer = folder / "answer.json"

    def run(source: str) -> None:
        done = run_command(folder, "count", export, "-s", source, "--scheduler", cluster.address, "-o", answer)
        assert (done.code, done.stdout, done.stderr) == (0, "", "")

    if where == "mock":
        run("mock")
    elif where == "http":
        with serve_command() as server:
            run(server.url)
    else:
        fetch(open_source(), export, folder / "exports")
        run("exports")  # told as the user sees it, from where the command runs
    return answer.read_bytes()


@pytest.mark.gate
@pytest.mark.parametrize(
    ("where", "export"), pairs(dict(zip(WHERE, WHERE, strict=True)), {"demo": "demo", "small": "small"})
)
def test_a_count_on_a_cluster_gives_the_committed_bytes(
    cluster: Cluster, tmp_path: Path, where: str, export: str
) -> None:
    assert count_everywhere(cluster, tmp_path, where, export) == (COMMITTED / f"{export}.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("where", WHERE)
def test_so_does_a_count_of_the_large_export(cluster: Cluster, tmp_path: Path, where: str) -> None:
    assert count_everywhere(cluster, tmp_path, where, "large") == (COMMITTED / "large.json").read_bytes()


@pytest.mark.gate
def test_verify_works_on_a_cluster_named_by_the_environment(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_bytes((COMMITTED / "demo.json").read_bytes())
    done = run_command(tmp_path, "verify", "demo.json", "--format", "csv", MOCKEXPORT_SCHEDULER=cluster.address)
    assert (done.code, done.stdout.splitlines()[1:], done.stderr) == (0, ["demo.json,demo,match,,,,,"], "")
    assert "exports_seen" in "".join(cluster.said(name) for name in cluster.workers)

    (tmp_path / "demo.json").write_bytes(b'{"patients": {}, "totals": {}}')
    assert run_command(tmp_path, "verify", "demo.json", "--scheduler", cluster.address).code == 1


@pytest.mark.gate
@pytest.mark.parametrize("treatment", ["fail", "skip"])
def test_malformed_rows_end_a_count_or_are_left_out_as_on_one_machine(
    cluster: Cluster, tmp_path: Path, treatment: str
) -> None:
    write_export(tmp_path / "exports", TRIAL, a=csv_body(1000), b=HEADER + ROW + b"P001\n" + ROW)
    arguments = ("count", TRIAL, "-s", "exports", "--on-malformed", treatment)
    here = run_command(tmp_path, *arguments)
    assert run_command(tmp_path, *arguments, "--scheduler", cluster.address) == here
    assert here.code == {"fail": 6, "skip": 0}[treatment]
    assert "malformed" in here.stderr


@pytest.mark.gate
@pytest.mark.parametrize("export", by_default(["demmo", "trial"], "demmo"))
def test_what_is_not_found_is_told_as_on_one_machine(cluster: Cluster, tmp_path: Path, export: str) -> None:
    here = run_command(tmp_path, "count", export)
    assert run_command(tmp_path, "count", export, "--scheduler", cluster.address) == here
    assert here.code == 3


def test_splits_of_a_file_and_of_a_body_with_ranges_are_counted_side_by_side(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path, TRIAL, a=csv_body(20_000), b=csv_body(10))
    monkeypatch.setattr("mockexport.sources.data_files.SPLIT_BYTES", 100_000)
    monkeypatch.setattr("mockexport.sources.http.SPLIT_BYTES", 100_000)
    parts: dict[str, set[Download]] = {}
    with serve_command("-s", tmp_path) as server:
        for name in (str(tmp_path), server.url):
            with closing(open_source(name)) as source:
                counts = count(
                    source, TRIAL,
                    start_workers=partial(cluster_workers, scheduler=cluster.address),
                    on_progress=lambda downloads, _, name=name: parts.update({name: set(downloads)}),  # type: ignore[misc]
                )  # fmt: skip
            assert counts.patients == {"P001": {"bp_sys": 20_010}}
            assert sum(isinstance(part, Split) for part in parts[name]) == 8


@pytest.mark.parametrize("leave", by_default([bulk_data_client, smart_fetch], smart_fetch, rest=pytest.mark.gate))
def test_folders_of_fhir_exports_are_counted_there_too(
    cluster: Cluster, tmp_path: Path, leave: Callable[[Path], object]
) -> None:
    leave(tmp_path / "data")
    here, there = (
        run_command(tmp_path, "count", "-s", "data", *more) for more in ((), ("--scheduler", cluster.address))
    )
    assert here == there
    assert here.code == 0


def test_a_file_that_is_another_one_elsewhere_is_found_out(cluster: Cluster, tmp_path: Path) -> None:
    write_export(tmp_path, TRIAL, a=csv_body(10))
    source = open_source(tmp_path)
    (listed,) = source.downloads(TRIAL)
    (tmp_path / TRIAL / "a.csv").write_bytes(csv_body(11))
    with (
        cluster_workers(source, 1, scheduler=cluster.address) as workers,
        pytest.raises(UntrustedDataError, match=r"a\.csv has changed since it was listed, or is another file"),
    ):
        workers.submit(fold_task, FoldTask(0, listed, TallySpec())).result()


# ---- Twins ----


@pytest.mark.gate
@pytest.mark.kernel
@pytest.mark.parametrize("kernel", by_default([*KERNELS, "auto"], *KERNELS))
def test_a_worker_counts_with_its_own_kernel_whatever_the_client_has(
    lone_scheduler: Cluster, tmp_path: Path, kernel: str
) -> None:
    other = "auto" if kernel == "pure" else "pure"
    with odd_worker(lone_scheduler, MOCKEXPORT_KERNEL=other):
        done = run_command(tmp_path, "count", "demo", "--scheduler", lone_scheduler.address, MOCKEXPORT_KERNEL=kernel)
    assert (done.code, done.stdout.encode(), done.stderr) == (0, (COMMITTED / "demo.json").read_bytes(), "")


def test_what_is_sent_is_small_and_names_no_kernel_of_its_own() -> None:
    source = open_source(kernel="auto")
    (download, *_) = source.downloads("large")
    small = replace(download, patients=None, event_types=None)
    sent = pickle.dumps(source) + pickle.dumps((fold_task, FoldTask(7, small, TallySpec())))
    assert b"_native" not in sent
    assert b"reference" not in sent
    assert len(sent) < 800


# ---- Progress and checkpoints ----


def test_progress_is_told_on_the_way_and_ends_exact(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mockexport.pipeline.dask.REPORT_SECONDS", 0.01)
    bodies = {name: csv_body(10_000) for name in "abc"}
    source = Watched(bodies, chunk_bytes=1000, seen=str(tmp_path / "seen"))
    told: list[tuple[int, int, int]] = []

    def on_progress(downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert len(downloads) == 3
        told.append((counters.rows(), counters.bytes(), counters.finished()))
        if counters.rows():
            (tmp_path / "seen").touch()

    workers = partial(cluster_workers, scheduler=cluster.address)
    assert count(source, TRIAL, on_progress=on_progress, start_workers=workers).rows == 30_000
    assert told[-1] == (30_000, sum(map(len, bodies.values())), 3)
    assert any(0 < rows < 30_000 and ended == 0 for rows, _, ended in told)


@pytest.mark.gate
def test_a_task_that_waits_for_its_first_byte_is_told_to_run(cluster: Cluster, tmp_path: Path) -> None:
    source = Silent({"a": csv_body(10), "b": csv_body(10)}, seen=str(tmp_path / "seen"))
    told = []

    def on_progress(_downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        told.append((counters.running(), counters.status(0), counters.bytes()))
        if counters.running() == [0, 1]:
            (tmp_path / "seen").touch()

    workers = partial(cluster_workers, scheduler=cluster.address)
    assert count(source, TRIAL, on_progress=on_progress, start_workers=workers).rows == 20
    assert ([0, 1], TaskStatus(RUNNING, 0, 0), 0) in told


def test_what_a_task_waits_for_is_told_on_the_way(cluster: Cluster, tmp_path: Path) -> None:
    source = Waiting({"a": csv_body(10)}, seen=str(tmp_path / "seen"))
    told = []

    def on_progress(_downloads: Sequence[Download | Split], counters: ProgressCounters) -> None:
        told.append(counters.status(0))
        if told[-1].state == BUSY:
            (tmp_path / "seen").touch()

    workers = partial(cluster_workers, scheduler=cluster.address)
    assert count(source, TRIAL, on_progress=on_progress, start_workers=workers).rows == 10
    assert (BUSY, 2.5, 0) in told


def test_a_checkpoint_of_a_cluster_and_one_of_this_machine_are_the_same(cluster: Cluster, tmp_path: Path) -> None:
    source = open_source()
    subject = Subject("mock", "demo", skip_malformed=False)
    workers = partial(cluster_workers, scheduler=cluster.address)
    with Checkpoint(tmp_path / "kept", subject) as checkpoint:
        there = count(source, "demo", checkpoint=checkpoint, start_workers=workers)
    with Checkpoint(tmp_path / "kept", subject) as checkpoint:
        assert checkpoint.count == 2
        assert count(source, "demo", checkpoint=checkpoint) == there


def test_the_program_in_the_documentation_counts(cluster: Cluster, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    found = re.search(r"From a program:\n\n((?:    .*\n|\n)+)", page)
    assert found
    program = textwrap.dedent(found[1]).replace("/shared/exports", str(tmp_path))
    program = program.replace("tcp://host:8786", cluster.address).replace("\ncount(", "\ncounts = count(")
    write_export(tmp_path, TRIAL, a=csv_body(10))
    names: dict[str, Any] = {}
    exec(program, names)
    assert names["counts"].rows == 10
