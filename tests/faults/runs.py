"""Runs of the client against a server that goes wrong: what is asked, and how each run ends.

A run is exact, or it ends with exit 5 or 6; whatever else comes of it is a `WrongError`.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from tests.faults.misbehaving import misbehaving
from tests.server.sources import DeclaringSource
from tests.sources import EXPORT

from mockexport.errors import UnreachableError, UntrustedDataError
from mockexport.http.retry import Retries
from mockexport.pipeline.counting import count
from mockexport.pipeline.fetching import fetch
from mockexport.server.faults.spec import AMOUNTS
from mockexport.sources.folder import FolderSource
from mockexport.sources.http import HttpSource
from mockexport.sources.mock import MockSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "AT_ONCE",
    "ENDINGS",
    "MANY_SEEDS",
    "SPECS",
    "Ends",
    "Run",
    "WrongError",
    "bodies",
    "run_all",
    "runs",
    "some_runs",
    "truth",
]

ALL_TOGETHER = (
    "data:cut=0..3000000,p=0.2;data:end=0..380000,p=0.05;data:reset=0..3000000,p=0.1;data:stall=0..3000000,p=0.05;"
    "any:latency=0.2,p=0.1;any:status=503,p=0.1;data:length=+10,p=0.1;download:rows=+1,p=0.02;"
    "data:malformed=0.001,p=0.02;data:ignore-range,p=0.1;data:wrong-range,p=0.1;data:etag,p=0.1"
)
SPECS = {
    "cut": ("data:cut=0..3000000,p=0.5", "data:cut=0..300000,p=0.7,where=between", "export:cut=20,p=0.4"),
    "end": ("data:end=0..380000,p=0.2", "data:end=100000..380000,p=0.6", "any:end=10,p=0.05"),
    "reset": ("data:reset=0..3000000,p=0.5", "any:reset=0,p=0.2"),
    "stall": ("data:stall=0..3000000,p=0.3", "any:stall=0,p=0.1"),
    "slow": ("data:slow=3000000,p=0.5", "any:slow=20000000"),
    "latency": ("any:latency=0.2,p=0.5", "any:latency=0.8,p=0.15"),
    "status": (
        "any:status=503,p=0.3",
        "any:status=500,p=0.6",
        "data:status=429,p=0.3,retry-after=1",
        "data:status=503,times=1,retry-after=date:1",
    ),
    "length": ("data:length=+1000,p=0.5", "data:length=-1000,p=0.3", "data:length=1000000,p=0.2"),
    "rows": ("download:rows=+1,p=0.2", "download:rows=-1,p=0.2"),
    "no-rows": ("data:cut=0..3000000,p=0.5;download:no-rows,p=0.5",),
    "malformed": ("data:malformed=0.0001,p=0.1", "data:malformed=0.5,p=0.1"),
    "twice": ("data:twice=0.5,p=0.1", "data:twice=0.0001,p=0.1"),
    "window": ("download:window=3600",),
    "ignore-range": ("data:cut=100000..2000000,p=0.6;data:ignore-range,p=0.5",),
    "wrong-range": ("data:cut=100000..2000000,p=0.6;data:wrong-range,p=0.5",),
    "etag": ("data:cut=100000..2000000,p=0.6;data:etag,p=0.5", "data:etag"),
    "weak-etag": ("data:cut=100000..2000000,p=0.6;data:weak-etag,p=0.5",),
    "replica": ("data:cut=100000..2000000,p=0.6;data:replica,p=0.5", "data:replica,p=0.5"),
    "all together": (ALL_TOGETHER,),
}
"""What the server is told, by the fault that it is about."""

SOME_SEEDS = range(1, 2)
MANY_SEEDS = range(100, 120)
COMMANDS = ("count", "fetch")
ENDINGS = ("exact", "as sent", "exit 5", "exit 6")  # `as sent` is for downloads that change (changing.py)
LARGE_BYTES = 2_000_000
TIMEOUT_SECONDS = 0.5
RETRIES = Retries(3, 20, first_wait=0.05)
LONGEST_SECONDS = 60
AT_ONCE = 4

assert set(SPECS) >= set(AMOUNTS)


class WrongError(Exception):
    """A run gave other counts or bytes than there are, or ended in none of the ways that it may."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command against a server with one SPEC."""

    fault: str
    spec: str
    command: str
    seed: int

    def end(self) -> str:
        """Run, and tell how it ended, as one of ENDINGS. Raises WrongError for anything else."""
        started = time.monotonic()
        behind = served(named=self.seed % 3 < 2, sized=self.seed % 2 > 0)
        with (
            misbehaving(behind, f"{self.spec};seed={self.seed}") as url,
            closing(HttpSource(url, timeout=TIMEOUT_SECONDS, retries=RETRIES)) as source,
        ):
            ending = self._end_of(source)
        if time.monotonic() - started > LONGEST_SECONDS:
            raise WrongError(f"{self} took {time.monotonic() - started:.0f} s")
        return ending

    def _end_of(self, source: HttpSource) -> str:
        try:
            right = count(source, EXPORT).patients == truth() if self.command == "count" else fetched_right(source)
        except UnreachableError:
            return "exit 5"
        except UntrustedDataError:
            return "exit 6"
        except Exception as error:
            raise WrongError(f"{self} raised {error!r}") from error
        if not right:
            raise WrongError(f"{self} got what is not there")
        return "exact"


def fetched_right(source: HttpSource) -> bool:
    """Fetch, and tell whether all bytes are right, or for a whole download those of a replica.

    Malformed rows are kept as they were sent; it is the count of the kept files that then raises UntrustedDataError.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # after an error some thread may still write
        fetch(source, EXPORT, Path(folder))
        kept = {name: (Path(folder) / EXPORT / f"{name}.csv").read_bytes() for name in bodies()}
        if all(kept[name] in (body, _of_replica(name)) for name, body in bodies().items()):
            return True
        with closing(FolderSource(folder)) as directory:
            count(directory, EXPORT)
        return False


@cache
def bodies() -> Mapping[str, bytes]:
    """The downloads: those of the export demo, and the beginnings of two larger ones."""
    mock = MockSource()
    small = {download.id: b"".join(mock.open(download)) for download in mock.downloads("demo")}
    return small | {download.id: beginning(mock.open(download)) for download in mock.downloads("small")[:2]}


@cache
def _of_replica(name: str) -> bytes:
    """A download as the fault `replica` has it."""
    rows = [line.split(b",") for line in bodies()[name].splitlines(keepends=True)]
    return b"".join(b",".join((row[2], row[1], row[0], *row[3:])) for row in rows)


def beginning(chunks: Iterator[bytes]) -> bytes:
    """The first rows, whole ones."""
    body = b""
    while len(body) < LARGE_BYTES:
        body += next(chunks)
    return body[: body.rindex(b"\n", 0, LARGE_BYTES) + 1]


@cache
def truth() -> dict[str, dict[str, int]]:
    """The counts, found in another way."""
    counted: Counter[tuple[str, str]] = Counter()
    for body in bodies().values():
        counted.update((row["patient_id"], row["event_type"]) for row in csv.DictReader(io.StringIO(body.decode())))
    patients: dict[str, dict[str, int]] = {}
    for (patient, event_type), records in counted.items():
        patients.setdefault(patient, {})[event_type] = records
    return patients


def served(*, named: bool, sized: bool) -> DeclaringSource:
    """The source behind the server, which names its bytes with an ETag or not, and tells their length or not."""
    return DeclaringSource(
        bodies(),
        rows={name: body.count(b"\n") - 1 for name, body in bodies().items()},
        chunk_bytes=1 << 16,
        etags=dict.fromkeys(bodies(), "v1") if named else {},
        sizes={name: len(body) for name, body in bodies().items()} if sized else {},
    )


def runs(fault: str, seeds: Iterable[int]) -> list[Run]:
    """All runs that are about one fault."""
    return [Run(fault, *run) for run in product(SPECS[fault], COMMANDS, seeds)]


class Ends(Protocol):
    """A run, of whatever kind."""

    def end(self) -> str: ...


def some_runs(fault: str) -> list[Run]:
    """A part of them, in turn a count and a fetch."""
    found = runs(fault, SOME_SEEDS)
    return [run for number, run in enumerate(found) if (number // 2 + number) % 2 == 0]


def run_all(wanted: Sequence[Ends]) -> Counter[str]:
    """Run several at a time; count how they ended. Raises WrongError for the first that ended wrongly."""
    bodies(), truth()  # before the clock of any run goes
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(lambda run: run.end(), wanted))
