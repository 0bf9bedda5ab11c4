"""How fast several nodes are beside one server with SQLite: `uv run --group dev python -m tests.heartrate.bench_nodes`.

Real nodes, a real PostgreSQL server with fsync, and senders in processes of their own, all on one machine: more nodes
than it has processors can't be faster, and the figures say what one more costs or gives there. All kinds take turns,
round by round, with the same number of connections; the medians of the rounds are printed. Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.heartrate.bench import Load, Told, percentile, send
from tests.heartrate.postgres.clusters import Pair, PostgresServer, pair, single
from tests.heartrate.postgres.nodes import Node, leader_of, running

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECTIONS = 12
STEADY_POSTS = 200  # a second, each of STEADY_READINGS
STEADY_READINGS = 100


@dataclass(frozen=True)
class Kind:
    """So many nodes, over the journal that `database` holds; without one, a server with SQLite."""

    nodes: int
    database: Pair | PostgresServer | None


@dataclass(frozen=True)
class Figures:
    """Readings a second at full load, and milliseconds from a post to its 202: at full load, and at a steady rate."""

    speed: float
    p50: float
    p99: float
    steady_p50: float
    steady_p99: float


def measure(kind: Kind, folder: Path, seconds: float) -> Figures:
    """Run one round of a kind in an empty folder."""
    arguments = ["--data", str(folder / "data")]
    if kind.database:
        arguments += ["--journal", kind.database.url(kind.database.new_database())]
    nodes = [Node(f"n{number}", arguments, folder / f"n{number}.log") for number in range(kind.nodes)]
    senders = max(2, kind.nodes)
    each = CONNECTIONS // senders
    ports = [nodes[number % kind.nodes].port for number in range(senders)]
    with running(nodes):
        full = send([Load(port, f"device_{number}", seconds, each) for number, port in enumerate(ports)])
        later = 1 + max(full.posts, 1)  # no reading of the steady load is one of the full load
        rate = STEADY_POSTS / senders
        steady = send(
            [
                Load(port, f"device_{number}", seconds, each, STEADY_READINGS, rate, later)
                for number, port in enumerate(ports)
            ]
        )
    refused = full.refused + steady.refused
    assert not refused, f"{refused} posts were refused"
    return Figures(full.posts * 1000 / full.seconds, *acks(full), *acks(steady))


def costs(database: PostgresServer, folder: Path, seconds: float) -> dict[str, float]:
    """Measure what a batch of 1,000 readings costs whom, if one of two nodes gets all posts and the other one leads."""
    arguments = ["--data", str(folder / "data"), "--journal", database.url(database.new_database())]
    nodes = [Node(f"n{number}", arguments, folder / f"n{number}.log") for number in range(2)]
    with running(nodes):
        leader = leader_of(nodes)
        follower = next(node for node in nodes if node is not leader)
        own = {"leads": pid_of(leader), "accepts": pid_of(follower)}

        def spent() -> dict[str, float]:
            (wal,) = database.sql("SELECT pg_current_wal_lsn() - '0/0'")[0]
            processors = {name: processor_seconds(pid) for name, pid in own.items()}
            return {**processors, "PostgreSQL": sum(map(processor_seconds, children_of(database))), "WAL": float(wal)}

        before = spent()
        told = send([Load(follower.port, "device", seconds, CONNECTIONS)])
        eventually_flushed(leader)
        after = spent()
    return {name: (after[name] - before[name]) / told.posts for name in before}


def pid_of(running: Node | PostgresServer) -> int:
    assert running.process is not None
    return running.process.pid


def children_of(database: PostgresServer) -> list[int]:
    pid = pid_of(database)
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in found.split()]


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process until now; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually_flushed(node: Node) -> None:
    """Wait until all is in the table: the leader's part of the work is done only then."""
    deadline = time.monotonic() + 120
    while node.health()[1]["lag"]["batches"]:
        assert time.monotonic() < deadline, "readings were not moved to the table"
        time.sleep(0.2)


def acks(told: Told) -> tuple[float, float]:
    """Their p50 and p99, in milliseconds."""
    return percentile(told.acks, 0.5), percentile(told.acks, 0.99)


def median(rounds: list[Figures], name: str) -> float:
    values: list[float] = [getattr(figures, name) for figures in rounds]
    return statistics.median(values)


def report(rounds: Mapping[str, list[Figures]]) -> None:
    """Print the medians as a table."""
    print("| journal and nodes | readings/s | ack at full load, p50 and p99 | ack at 20,000 readings/s, p50 and p99 |")
    print("|---|---|---|---|")
    for name, figures in rounds.items():
        full = f"{median(figures, 'p50'):.1f} and {median(figures, 'p99'):.1f} ms"
        steady = f"{median(figures, 'steady_p50'):.1f} and {median(figures, 'steady_p99'):.1f} ms"
        print(f"| {name} | {median(figures, 'speed'):,.0f} | {full} | {steady} |")


def main() -> None:
    """Measure all kinds in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=None, help="where the folders go (default: the temporary folder)")
    options = parser.parse_args()
    with ExitStack() as stack:
        alone, both = stack.enter_context(single()), stack.enter_context(pair())
        kinds = {
            "SQLite, 1 server": Kind(1, None),
            "PostgreSQL, 1 node": Kind(1, alone),
            "PostgreSQL, 2 nodes": Kind(2, alone),
            "PostgreSQL, 3 nodes": Kind(3, alone),
            "PostgreSQL with a synchronous standby, 3 nodes": Kind(3, both),
        }
        rounds: dict[str, list[Figures]] = {name: [] for name in kinds}
        costed: list[dict[str, float]] = []
        for _ in range(options.rounds):
            for name, kind in kinds.items():
                folder = Path(tempfile.mkdtemp(dir=options.dir))
                try:
                    rounds[name].append(measure(kind, folder, options.seconds))
                finally:
                    shutil.rmtree(folder)
            folder = Path(tempfile.mkdtemp(dir=options.dir))
            try:
                costed.append(costs(alone, folder, options.seconds))
            finally:
                shutil.rmtree(folder)
    print(
        f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}; medians of", end=" "
    )
    print(f"{options.rounds} rounds, {CONNECTIONS} connections\n")
    report(rounds)
    print("\nA batch of 1,000 readings, posted to the node that does not lead:")
    for name in costed[0]:
        middle = statistics.median(cost[name] for cost in costed)
        print(f"- {name}: " + (f"{middle:,.0f} bytes" if name == "WAL" else f"{middle * 1000:.2f} ms of a processor"))


if __name__ == "__main__":
    main()
