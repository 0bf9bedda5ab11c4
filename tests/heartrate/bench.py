"""The figures of docs/heart-rate.md: `uv run python -m tests.heartrate.bench` prints them as its table.

A real server in a process of its own, and senders in others, on the same machine. Nothing here passes or fails; what
must hold is in the tests. `--minutes 10` adds the run in which memory is watched.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONE, BATCH = "/metrics/heart-rate", "/metrics/heart-rate/batch"
START = datetime(2025, 8, 26)  # noqa: DTZ001 - written without an offset, which means UTC
MOMENT = "@@@@@@@@@@@@@@@@@@@"  # as long as a time to the second
USERS = 1000
SENDERS = 2  # processes; each is a device that all users wear
STORED = 10_000_000


@dataclass(frozen=True)
class Load:
    """What a sender does: so many connections, for so long, at such a rate (posts a second) or as fast as it goes."""

    port: int
    device: str
    seconds: float
    connections: int
    batch: int = 1000  # 1 is a single
    rate: float | None = None
    first: int = 0  # where in time it begins, so that no two loads send the same reading
    posts: int | None = None


@dataclass
class Told:
    """What became of it; seconds from when a post was due to its 202."""

    posts: int = 0
    readings: int = 0
    refused: int = 0
    seconds: float = 0.0
    acks: list[float] = field(default_factory=list)


class Sender:
    """Posts over raw connections: a client that costs little, so that the server's speed is what is measured."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._path = ONE if load.batch == 1 else BATCH
        self._templates = [self._template(at) for at in range(0, USERS, load.batch)]
        self._next = 0
        self._told = Told()

    def _template(self, first_user: int) -> bytes:
        chance = random.Random(first_user)
        readings = [
            {
                "device_id": self._load.device,
                "user_id": f"user_{user:04}",
                "timestamp": f"{MOMENT}.{chance.randrange(1_000_000):06}Z",
                "heart_rate": chance.randrange(50, 120),
            }
            for user in range(first_user, first_user + self._load.batch)
        ]
        return orjson.dumps(readings[0] if self._load.batch == 1 else {"readings": readings})

    def request(self, number: int) -> bytes:
        """Return a post: all users once a minute, minute after minute."""
        minute, part = divmod(number, len(self._templates))
        moment = (START + timedelta(minutes=self._load.first + minute)).isoformat()
        body = self._templates[part].replace(MOMENT.encode(), moment.encode())
        return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (self._path.encode(), len(body), body)

    async def run(self) -> Told:
        """Send until the time is over."""
        self._started = time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(self._load.connections)))
        self._told.seconds = time.perf_counter() - self._started
        return self._told

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._load.port)
        load, told = self._load, self._told
        while load.posts is None or self._next < load.posts:
            number, due = self._next, time.perf_counter()
            self._next += 1
            if load.rate:
                due = self._started + number / load.rate
                await asyncio.sleep(due - time.perf_counter())
            if time.perf_counter() - self._started >= load.seconds:
                break
            writer.write(self.request(number))
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head)
            assert found, head
            await reader.readexactly(int(found[1]))
            if b" 202 " in head[:16]:
                told.posts += 1
                told.readings += load.batch
                told.acks.append(time.perf_counter() - due)
            else:
                told.refused += 1
                await asyncio.sleep(0.1)
        writer.close()


def run_sender(load: Load) -> Told:
    """Send in this process."""
    return asyncio.run(Sender(load).run())


def send(loads: list[Load], while_sending: Callable[[], object] | None = None) -> Told:
    """Send in a process a load, side by side; return what became of all."""
    with multiprocessing.get_context("spawn").Pool(len(loads)) as pool:
        waiting = pool.map_async(run_sender, loads, chunksize=1)
        while not waiting.ready():
            waiting.wait(1.0)
            if while_sending:
                while_sending()
        told = waiting.get()
    return Told(
        sum(t.posts for t in told), sum(t.readings for t in told), sum(t.refused for t in told),
        max(t.seconds for t in told), [ack for t in told for ack in t.acks],
    )  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    port: int
    pid: int

    def memory(self) -> float:
        """What it has in memory, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1000

    def get(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            body: bytes = answer.read()
            return body

    def figures(self) -> dict[str, float]:
        """What it tells Prometheus."""
        lines = [line for line in self.get("/metrics").decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def settled(self) -> None:
        """Wait, a while, until all is in the table."""
        for _ in range(120):
            if not self.figures().get("mockexport_heartrate_pending_readings"):
                return
            time.sleep(0.5)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    """Run `mockexport serve --data`; what it says goes to a file, as it would to a log."""
    command = [sys.executable, "-m", "mockexport", "serve", "--port", "0", "--data", str(folder), *options]
    log = folder.with_name("log")
    with log.open("w") as said, subprocess.Popen(command, stderr=said) as process:
        while not (found := re.search(r"http://127.0.0.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        try:
            yield Server(int(found[1]), process.pid)
        finally:
            process.terminate()


def percentile(seconds: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)] * 1000


def row(what: str, figure: str, bar: str) -> None:
    """Print a row of the table."""
    print(f"| {what} | {figure} | {bar} |", flush=True)


def ingest(folder: Path, seconds: float) -> None:
    """Batches of 1,000 as fast as they are taken, and then one user's day out of what is stored."""
    with serving(folder) as server:
        memory: list[float] = []
        devices = [f"device_{letter}" for letter in "abcdefgh"[:SENDERS]]
        told = send(
            [Load(server.port, device, seconds, 4) for device in devices], lambda: memory.append(server.memory())
        )
        speed = told.readings / told.seconds
        row(f"durable batch ingest, {seconds:.0f} s", f"{speed:,.0f} readings/s", "200,000 readings/s")
        row("its ack, p50 and p99", f"{percentile(told.acks, 0.5):.1f} and {percentile(told.acks, 0.99):.1f} ms", "")
        row("its memory, most", f"{max(memory):.0f} MB", "")
        row("refused with 503", f"{told.refused:,}", "")
        figures = server.figures()
        for name, what in (("flushes", "flushes"), ("compactions", "compactions")):
            row(f"{what} meanwhile", f"{figures.get(f'mockexport_heartrate_{name}_total', math.nan):.0f}", "")
        missing = STORED - told.readings
        if missing > 0:
            posts = -(-missing // 1000 // SENDERS)
            minute = told.posts  # later than all that was sent
            send([Load(server.port, device, 3600, 4, first=minute, posts=posts) for device in devices])
        server.settled()
        users_days(server, max(told.readings, STORED))


def users_days(server: Server, stored: int) -> None:
    """Ask for one user's first day, again and again."""
    chance, seconds = random.Random(0), []
    for number in range(220):
        user = chance.randrange(USERS)
        began = time.perf_counter()
        answer = server.get(f"{ONE}?user_id=user_{user:04}&start=2025-08-26T00:00:00&end=2025-08-26T23:59:59.999999")
        if number >= 20:
            seconds.append(time.perf_counter() - began)
        assert orjson.loads(answer)["count"] == 1440, answer[:200]
    what = f"one user's day of 1,440 minutes out of {stored / 1e6:.0f} M readings, p50 and p95"
    row(what, f"{percentile(seconds, 0.5):.1f} and {percentile(seconds, 0.95):.1f} ms", "p95 30 ms")


def singles(folder: Path, seconds: float) -> None:
    """Single posts of 64 clients."""
    with serving(folder) as server:
        told = send([Load(server.port, f"device_{n}", seconds, 32, batch=1) for n in range(2)])
        row(f"single posts, 64 clients, {seconds:.0f} s", f"{told.posts / told.seconds:,.0f}/s", "2,000/s")
        row("their ack, p50 and p99", f"{percentile(told.acks, 0.5):.1f} and {percentile(told.acks, 0.99):.1f} ms", "")


def steady(folder: Path, seconds: float, batch: int) -> None:
    """20,000 readings a second, and the time from when a post is due to its 202."""
    with serving(folder) as server:
        memory: list[float] = []
        minutes: list[float] = []

        def look() -> None:
            memory.append(server.memory())
            if len(memory) % 60 == 0:
                minutes.append(statistics.median(memory[-30:]))

        rate = 20_000 / batch / SENDERS
        loads = [Load(server.port, f"device_{n}", seconds, 32, batch=batch, rate=rate) for n in range(SENDERS)]
        told = send(loads, look)
        ack = f"{percentile(told.acks, 0.5):.1f} and {percentile(told.acks, 0.99):.1f} ms"
        what = f"{told.readings / told.seconds:,.0f} readings/s in batches of {batch}, {seconds:.0f} s: ack p50 and p99"
        row(what, ack, "p99 50 ms")
        if len(minutes) > 1:
            row("memory by the minute", ", ".join(f"{mb:.0f}" for mb in minutes) + " MB", "flat")


OPTIONS: dict[str, tuple[str, ...]] = {
    "without": (),
    "limits of clients and users": ("--rate-limit-client", "1000000/second", "--rate-limit-user", "1000000/second"),
    "a log of each request": ("--verbose",),
    "a log of each request, as JSON": ("--verbose", "--log-format", "json"),
}


def with_options(folder: Path, rounds: int = 3) -> None:
    """What rate limits and logs cost: batches of 1,000, and single posts, with each in turn."""
    for what, batch in (("batches of 1,000", 1000), ("single posts", 1)):
        speeds: dict[str, list[float]] = {name: [] for name in OPTIONS}
        for number in range(rounds):
            for name, options in OPTIONS.items():
                shutil.rmtree(folder, ignore_errors=True)
                with serving(folder, *options) as server:
                    told = send([Load(server.port, f"device_{n}", 6, 4 if batch > 1 else 32, batch) for n in range(2)])
                speeds[name].append(told.readings / told.seconds)
                print(f"round {number + 1}, {what}, {name}: {speeds[name][-1]:,.0f}/s", file=sys.stderr)
        for name in OPTIONS:
            row(f"{what}, {name}: readings/s, median of {rounds}", f"{statistics.median(speeds[name]):,.0f}", "")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the sustained ingest")
    parser.add_argument("--minutes", type=float, default=0, help="of watching memory at 20,000 readings/s")
    parser.add_argument("--dir", type=Path, default=None, help="where the folders go (default: the temporary folder)")
    parser.add_argument("--only", choices=["ingest", "singles", "steady", "options"], default=None)
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], None]] = {
        "ingest": lambda folder: ingest(folder, options.seconds),
        "singles": lambda folder: singles(folder, 20),
        "steady": lambda folder: steady(folder, options.minutes * 60 or 30, 100),
        "options": with_options,
    }
    print(f"{platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}\n")
    print("| what | figure | bar |\n|---|---|---|")
    for name, part in parts.items():
        if options.only in (None, name):
            folder = Path(tempfile.mkdtemp(dir=options.dir))
            try:
                part(folder / "readings")
            finally:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
