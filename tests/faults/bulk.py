"""Runs of the client against our own FHIR server that goes wrong: what is asked, and how each run ends.

A run is exact, or it ends with exit 4, 5 or 6 and one line; whatever else comes of it is a `WrongError`. No wait is a
real one: where the server asks for none, the client waits for a moment, and the server's clock goes on by itself.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, cycle, product
from itertools import count as count_up
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import orjson
from tests.faults.misbehaving import misbehaving
from tests.faults.runs import COMMANDS, LONGEST_SECONDS, RETRIES, TIMEOUT_SECONDS, WrongError
from tests.fhir.folders import lines
from tests.server.sources import DeclaringSource
from tests.smart.keys import CLIENT, write_clients, write_key
from tests.sources import EXPORT

from mockexport import FhirExport
from mockexport.errors import MockExportError
from mockexport.http import ClientSettings
from mockexport.pipeline.counting import count
from mockexport.pipeline.executors import process_workers, thread_workers
from mockexport.pipeline.fetching import fetch
from mockexport.server import Fhir
from mockexport.server.faults.spec import AMOUNTS, BULK_AMOUNTS
from mockexport.shared import InMemory
from mockexport.smart import TokenServer, read_clients
from mockexport.sources.fhir import FhirSource, job
from mockexport.sources.folder import FolderSource
from mockexport.sources.mock import MockFhirSource
from mockexport.tally.fhir import FhirFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from mockexport import Download
    from mockexport.pipeline.executors import StartWorkers

__all__ = [
    "BULK_ENDINGS",
    "BULK_SPECS",
    "THREADS",
    "TWO_TOGETHER",
    "UNKNOWABLE",
    "WAYS",
    "BulkRun",
    "bulk_bodies",
    "bulk_runs",
    "without_waits",
]

WAITS = ("0", "date:0", "float:0", "epoch:0", "epoch-ms:0", "negative:5", "garbage", "99999999", "epoch:99999999")
CUT = "file:cut=0..400000,p=0.6"
BULK_SPECS = {
    "cut": ("file:cut=0..400000,p=0.5", "file:cut=0..90000,p=0.7,where=between", "fhir:cut=20,p=0.2"),
    "end": ("file:end=0..300000,p=0.3", "poll:end=40,p=0.4", "fhir:end=10,p=0.2"),
    "reset": ("file:reset=0..400000,p=0.5", "fhir:reset=0,p=0.1"),
    "stall": ("file:stall=0..400000,p=0.3", "fhir:stall=0,p=0.1"),
    "slow": ("file:slow=3000000,p=0.5", "fhir:slow=20000000"),
    "latency": ("fhir:latency=0.2,p=0.3", "fhir:latency=0.8,p=0.15"),
    "status": (
        "poll:status=500,times=1,retry-after=0",
        *(f"kickoff:status=429,times=1,retry-after={wait}" for wait in WAITS),
        "poll:status=429,p=0.5,retry-after=date:0",
        "fhir:status=503,p=0.3,retry-after=0",
        "kickoff:status=500,p=0.5",
        "file:status=502,p=0.4",
        "fhir:status=401,p=0.1",
        "fhir:status=403,p=0.1",
        "file:status=404,p=0.2",
        "token:status=400,times=1",
        "token:status=500,p=0.5",
    ),
    "transient": (
        "poll:transient=503,times=9,retry-after=0",
        "poll:transient=500,p=0.7,retry-after=date:0",
        "fhir:transient=502,p=0.2,retry-after=0",
    ),
    "retry-after": tuple(f"poll:retry-after={wait}" for wait in WAITS),
    "expired": ("file:expired=410,times=1", "file:expired=404,p=0.3"),
    "redirect": (
        "file:redirect=307",
        *(f"fhir:redirect={status},p=0.3" for status in (301, 302, 303, 307, 308)),
        "poll:redirect=302",
        "token:redirect=307,p=0.5",
    ),
    "token-expired": ("file:token-expired,times=1", "poll:token-expired,times=1", "fhir:token-expired,p=0.2"),
    "twice": ("file:twice=0.5,p=0.3", "file:twice=0.001,times=1"),
    "window": ("poll:window=3600",),
    "rows": ("poll:rows=+1,p=0.5", "poll:rows=-1,p=0.5"),
    "no-rows": ("poll:no-rows", f"{CUT};poll:no-rows"),
    "error-file": tuple(f"poll:error-file={severity}" for severity in ("error", "fatal", "warning", "information")),
    "deleted": ("poll:deleted=Patient/P001",),
    "malformed": ("file:malformed=0.001,p=0.2", "file:malformed=0.5,p=0.2"),
    "length": ("file:length=+1000,p=0.5", "file:length=-1000,p=0.3", "poll:length=-20,p=0.5"),
    "ignore-range": (f"{CUT};file:ignore-range,p=0.5",),
    "wrong-range": (f"{CUT};file:wrong-range,p=0.5",),
    "etag": (f"{CUT};file:etag,p=0.5", "file:etag"),
    "weak-etag": (f"{CUT};file:weak-etag,p=0.5",),
    "replica": (f"{CUT};file:replica,p=0.3",),
}
"""What the server is told, by the fault that it is about."""

TWO_TOGETHER = "two together"
UNKNOWABLE = ({"end", "no-rows"}, {"length", "no-rows"}, {"twice", "no-rows"})
"""Without a count nobody knows that rows are missing at the end, or that a row came twice (docs/reliability.md)."""

BULK_ENDINGS = ("exact", "exit 4", "exit 5", "exit 6")
MAY_END_WITH = (4, 5, 6)
THREADS: StartWorkers = partial(thread_workers, jobs=2)
PROCESSES: StartWorkers = partial(process_workers, jobs=2)
WAYS = {
    "count-threads": ("count", THREADS),
    "fetch-threads": ("fetch", THREADS),
    "count-processes": ("count", PROCESSES),
    "fetch-processes": ("fetch", PROCESSES),
}
SEEDS = range(100, 104)
EXPORTS = {"count": f"group/{EXPORT}", "fetch": "system"}
ACCESS = ("smart", "bearer", "open")
"""How the client is let in: by tokens that it gets with its key, by one that it was given, or by none."""

FILE_BYTES = 200_000
MOMENT = 0.02  # seconds
TICK = 0.03  # seconds of the server's clock, which goes on each time that it is looked at
EXPORT_SECONDS = 0.3  # by that clock

assert set(BULK_SPECS) == set(AMOUNTS) | set(BULK_AMOUNTS)


class _File(NamedTuple):
    type: str
    body: bytes


class _Served(DeclaringSource):
    """The source behind the server: files of FHIR resources."""

    def downloads(self, export: str) -> Sequence[Download]:
        return [
            replace(download, format="ndjson", event_types=(bulk_bodies()[download.id].type,))
            for download in super().downloads(export)
        ]


@dataclass(frozen=True, slots=True)
class BulkRun:
    """One run of a command, with threads or processes, against a server with one SPEC."""

    spec: str
    command: str
    workers: StartWorkers
    seed: int

    def end(self) -> str:
        """Run, and tell how it ended, as one of BULK_ENDINGS. Raises WrongError for anything else."""
        started = time.monotonic()
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # after an error some thread may still write
            ending = self._end_with(Path(folder), ACCESS[self.seed % len(ACCESS)])
        if time.monotonic() - started > LONGEST_SECONDS:
            raise WrongError(f"{self} took {time.monotonic() - started:.0f} s")
        return ending

    def _end_with(self, folder: Path, access: str) -> str:
        waits = "poll:retry-after" in self.spec
        settings = Fhir(
            export_seconds=EXPORT_SECONDS if waits else 0,
            documents=InMemory(partial(next, count_up(time.time(), TICK))),
            tokens=TokenServer(read_clients(write_clients(folder / "clients"))) if access == "smart" else None,
        )
        token = "s3cr3t" if access == "bearer" else None
        export = FhirExport(timeout=LONGEST_SECONDS)
        if access == "smart":
            export = replace(export, client_id=CLIENT, key=write_key(folder / "key"))
        behind = _served(named=self.seed % 4 < 2, sized=self.seed % 2 > 0)
        spec = f"{self.spec};seed={self.seed}"
        with misbehaving(behind, spec, token=token, fhir=settings) as url:
            client = ClientSettings(f"{url}/fhir", timeout=TIMEOUT_SECONDS, retries=RETRIES, token=token)
            with closing(FhirSource(client, export)) as source:
                return self._end_of(source, folder)

    def _end_of(self, source: FhirSource, folder: Path) -> str:
        export = EXPORTS[self.command]
        try:
            if self.command == "count":
                right = count(source, export, start_workers=self.workers).patients == _truth()
            else:
                right = self._fetched_right(source, export, folder / "fetched")
        except MockExportError as error:
            if error.exit_code not in MAY_END_WITH or not error.message or "\n" in str(error):
                raise WrongError(f"{self} raised {error!r}") from error
            return f"exit {error.exit_code}"
        except Exception as error:
            raise WrongError(f"{self} raised {error!r}") from error
        finally:
            source.end()
        if not right:
            raise WrongError(f"{self} got what is not there")
        return "exact"

    def _fetched_right(self, source: FhirSource, export: str, folder: Path) -> bool:
        """Fetch, and tell whether all bytes are right; else a strict count of the folder must raise.

        Malformed rows are kept as they were sent, and a count that is not strict passes over what it does not need.
        """
        fetched = fetch(source, export, folder, start_workers=self.workers)
        kept = sorted((folder / export / file.file).read_bytes() for file in fetched)
        if kept == sorted(file.body for file in bulk_bodies().values()):
            return True
        with closing(FolderSource(folder)) as directory:
            count(directory, export, fhir=FhirFormat(strict=True))
        return False


@cache
def bulk_bodies() -> Mapping[str, _File]:
    """The files: the beginnings of those of the mock export, as FHIR, and one of resources without a patient."""
    mock = MockFhirSource()
    patients, *observations = mock.downloads("demo")
    organizations = lines({"resourceType": "Organization", "id": f"org{number}"} for number in range(50))
    return {
        "patients": _File("Patient", b"".join(mock.open(patients))),
        **{f"rows{n}": _File("Observation", _beginning(mock, rows)) for n, rows in enumerate(observations)},
        "organizations": _File("Organization", organizations),
    }


def _beginning(source: MockFhirSource, download: Download) -> bytes:
    chunks, body = source.open(download), b""
    while len(body) < FILE_BYTES:
        body += next(chunks)
    return body[: body.rindex(b"\n", 0, FILE_BYTES) + 1]


@cache
def _truth() -> dict[str, dict[str, int]]:
    """The counts, found in another way."""
    patients: dict[str, Counter[str]] = {}
    for file in bulk_bodies().values():
        for resource in map(orjson.loads, file.body.splitlines()):
            if file.type != "Organization":
                name = resource["id"] if file.type == "Patient" else resource["subject"]["reference"]
                patients.setdefault(name.removeprefix("Patient/"), Counter())[file.type] += 1
    return {patient: dict(types) for patient, types in patients.items()}


def _served(*, named: bool, sized: bool) -> _Served:
    """The source behind the server, which names its bytes with an ETag or not, and tells their length or not."""
    bodies = {name: file.body for name, file in bulk_bodies().items()}
    return _Served(
        bodies,
        rows={name: body.count(b"\n") for name, body in bodies.items()},
        chunk_bytes=1 << 14,
        etags=dict.fromkeys(bodies, "v1") if named else {},
        sizes={name: len(body) for name, body in bodies.items()} if sized else {},
    )


def bulk_runs(fault: str) -> list[BulkRun]:
    """All runs that are about one fault, or about any two of them together, the first SPEC of each."""
    if fault == TWO_TOGETHER:
        commands = cycle(COMMANDS)
        return [BulkRun(spec, next(commands), THREADS, seed) for seed, spec in enumerate(_two_together())]
    return [
        *(BulkRun(spec, command, THREADS, seed) for spec, command, seed in product(BULK_SPECS[fault], COMMANDS, SEEDS)),
        *(BulkRun(BULK_SPECS[fault][0], command, PROCESSES, SEEDS[0]) for command in COMMANDS),
    ]


def _two_together() -> list[str]:
    pairs = combinations(BULK_SPECS, 2)
    return [";".join(BULK_SPECS[fault][0] for fault in pair) for pair in pairs if set(pair) not in UNKNOWABLE]


def without_waits() -> AbstractContextManager[Any]:
    """Let the client wait for a moment where a server asks for no wait."""
    return patch.object(job, "FIRST_WAIT", MOMENT)
