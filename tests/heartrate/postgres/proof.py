"""The end of every run with faults: all is well again, and nothing was lost, doubled or invented."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson
import polars as pl
from deltalake import DeltaTable
from tests.commands import run_command
from tests.heartrate.postgres.clients import READINGS_A_MINUTE
from tests.heartrate.postgres.history import violations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.heartrate.postgres.clients import Clients
    from tests.heartrate.postgres.nodes import Node


def prove(clients: Clients, nodes: Sequence[Node], folder: Path, forgiven: float = -math.inf) -> None:
    """Stop the clients, wait until all nodes are well, and check what each of them has, and all that was ever seen."""
    clients.stop()
    with clients.entered():
        for node in nodes:
            node.wait_until_healthy()
        kept = [clients.ask_all(node) for node in nodes]
        counts = [counted(node, folder) for node in nodes]
    found = [*clients.wrong, *violations(clients.history, forgiven)]
    told = f"{len(found)} violations, seed {clients.seed}; {clients.summary()}\n" + "\n".join(found[:10])
    assert not found, told
    expected = {user: minutes * READINGS_A_MINUTE for user, minutes in kept[0].items() if minutes}
    assert kept == [kept[0]] * len(nodes), told
    assert counts == [expected] * len(nodes), told
    assert stored_twice(folder / "data" / "table") == 0, told


def stored_twice(table: Path) -> int:
    """How many rows are in the table's files again; readings that were sent again are other rows."""
    files = DeltaTable(table).file_uris() if table.exists() else []
    if not files:
        return 0
    rows = pl.scan_parquet(files, hive_partitioning=False).select("sequence").collect()
    return rows.height - rows["sequence"].n_unique()


def counted(node: Node, folder: Path) -> dict[str, int]:
    """How many readings of each user `mockexport count` finds in the export of a node."""
    ended = run_command(folder, "count", "heart_rate", "--source", node.url)
    assert ended.code == 0, f"{ended.stderr}\n{node.told()}"
    patients = orjson.loads(ended.stdout)["patients"]
    return {patient: types["heart_rate"] for patient, types in patients.items()}
