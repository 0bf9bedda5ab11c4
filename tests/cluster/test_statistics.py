"""Statistics on a cluster are those of one machine, the very bytes, also where times are sorted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import write_export
from tests.cluster.machines import COMMITTED
from tests.commands import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.machines import Cluster

pytestmark = pytest.mark.gate

HEADER = "patient_id,event_time,event_type,value\n"


def test_statistics_on_a_cluster_give_the_committed_bytes(cluster: Cluster, tmp_path: Path) -> None:
    done = run_command(tmp_path, "stats", "demo", "--scheduler", cluster.address, "-o", "demo.json")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "demo.json").read_bytes() == (COMMITTED / "demo.stats.json").read_bytes()


def test_times_that_are_out_of_order_travel_from_the_workers_and_are_sorted(cluster: Cluster, tmp_path: Path) -> None:
    rows = [f"P{n % 3},2025-01-01T00:{7 * n % 60:02}:{n % 60:02}Z,x,{n}\n" for n in range(600)]
    write_export(tmp_path / "exports", "trial", a=HEADER + "".join(rows), b=HEADER + "".join(reversed(rows)))
    here = run_command(tmp_path, "stats", "trial", "-s", "exports", "-v")
    there = run_command(tmp_path, "stats", "trial", "-s", "exports", "--scheduler", cluster.address)
    assert "3 pairs of patient and type are not in the order of time" in here.stderr
    assert (here.code, there.code, there.stdout) == (0, 0, here.stdout)
