"""`reconcile`: what an export was declared to be, against what is found in it.

Each download is read whole, by one task (record_reading.py), which gives counts, facts and sorted keys. Findings are
made of these as they arrive, and the keys of all downloads are folded at the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mockexport.errors import NotFoundError, UsageError
from mockexport.model import time_text
from mockexport.pipeline.deleted import find_deleted, read_deleted
from mockexport.pipeline.executors import default_jobs, thread_workers
from mockexport.pipeline.record_reading import Broken, ReadTask, WholeRecords, read_records
from mockexport.pipeline.running import list_downloads, run_tasks
from mockexport.pipeline.total import RunningTotal
from mockexport.reconciliation import (
    FIRST_PLACES,
    KEY_BYTES,
    RECORD_BYTES,
    Bytes,
    Certificate,
    CsvReading,
    Findings,
    ResourceReading,
    check_codes,
    choose_key,
    declared_document,
    found_document,
    judge_download,
    judge_export,
    judge_repeats,
    sorted_out,
)
from mockexport.sorting import RunWriter, choose_distinct, sorted_blocks, temporary_folder
from mockexport.source import CountsResources, Declared, Declares
from mockexport.tally import CSV, FHIR, MAX_PAIRS, choose_tally

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mockexport.model import Counts, Download
    from mockexport.pipeline.executors import StartWorkers
    from mockexport.pipeline.running import OnListing, OnProgress
    from mockexport.reconciliation import Finding
    from mockexport.sorting import DistinctKeys, Runs
    from mockexport.source import Source
    from mockexport.tally import CsvFormat, FhirFormat

__all__ = ["MEMORY", "reconcile"]

MEMORY = 256 << 20
LEAST_MEMORY = 1 << 20  # of a worker
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
log = logging.getLogger(__name__)


def reconcile(
    source: Source,
    export: str = "demo",
    *,
    allow: Collection[str] = (),
    deny: Collection[str] = (),
    by_patient: bool = False,
    ask_server: bool = False,
    memory: int = MEMORY,
    jobs: int | None = None,
    max_pairs: int = MAX_PAIRS,
    kernel: str = "auto",
    csv: CsvFormat = CSV,
    fhir: FhirFormat = FHIR,
    start_workers: StartWorkers = thread_workers,
    on_progress: OnProgress | None = None,
    on_listing: OnListing | None = None,
) -> Certificate:
    """Compare what an export was declared to be with what is found in it, and certify both (docs/reconcile.md).

    `allow` names codes of findings that are known, and `deny` codes that are errors. `by_patient` adds the records of
    each patient, and what was deleted. `ask_server` asks a FHIR server how many resources it has of each type. `memory`
    is how many bytes of keys are held; more are kept on disk while this runs, in the folder for temporary files. `jobs`
    is how many workers share it. The other arguments are those of `count`, which has malformed rows left out.

    A download that cannot be read is a finding, and the others go on. Raises NotFoundError for an unknown export,
    UsageError for an unknown code, for a server that cannot be asked, and for a disk that is full; what listing the
    export raises; and UntrustedDataError for too many pairs of patient and type.
    """
    check_codes("allow", allow)
    check_codes("deny", deny)
    choose_tally(kernel)
    if ask_server:
        totals_of(source, export, ["Patient"])  # a server that can't be asked is an error before any work
    begun = datetime.now(UTC)
    declared = declared_by(source, export, on_listing)
    if not declared.downloads and not declared.missing:
        raise NotFoundError(f"export {export!r} in {source.name} has no downloads; there is nothing to reconcile")
    workers = max(1, min(len(declared.downloads), jobs or default_jobs()))
    with temporary_folder() as folder:
        key = os.urandom(KEY_BYTES)
        deleted = read_deleted(declared, choose_key(kernel), key)
        specs = Specs(kernel, key, max_pairs, csv, fhir, declared, ids=bool(deleted.names))
        share = max(LEAST_MEMORY, memory // (workers + 1))
        tasks = [
            ReadTask(number, replace(d, patients=None, event_types=None), specs.of(number, d), folder, share)
            for number, d in enumerate(declared.downloads)
        ]
        run = Collected(declared, max_pairs, export)
        with contextlib.ExitStack() as open_writers:
            writer = partial(RunWriter, RECORD_BYTES, folder=folder, memory=share // 2, kernel=kernel)
            records, ids = (open_writers.enter_context(writer()) for _ in range(2))
            ended = run_tasks(declared.source, read_records, tasks, declared.downloads, start_workers, on_progress)
            with contextlib.closing(ended):
                for task, result in ended:
                    run.add(task.number, result)
                    if isinstance(result, WholeRecords):
                        records.add_runs(result.records)
                        ids.add_runs(result.ids)
            distinct = fold_distinct(records.finish(), memory, kernel)
            findings = [*run.findings(), *judge_repeats(declared.downloads, distinct)]
            findings += find_deleted(declared.downloads, deleted, ids.finish(), memory=memory, kernel=kernel)
    total = run.total.result
    of_fhir = any(download.format != "csv" for download in declared.downloads) or declared.types is not None
    findings += [*judge_export(total, of_fhir=of_fhir, types=declared.types), *deleted.findings]
    if ask_server:
        findings += compare_totals(source, export, total, declared.types or ())
    counting, accepted = sorted_out(Findings(findings), allow, deny)
    return Certificate(
        source=source.name,
        export=export,
        begun=time_text(begun),
        ended=time_text(datetime.now(UTC)),
        downloads=run.documents(),
        records=total.totals,
        patients=len(total.patients),
        distinct=distinct.keys,
        findings=counting,
        accepted=accepted,
        asked=asked_for(declared),
        by_patient=total.patients if by_patient else None,
        deleted=sorted(set(deleted.names.values())) if by_patient else None,
    )


def declared_by(source: Source, export: str, on_listing: OnListing | None) -> Declared:
    """Return what an export was declared to be; of a source that does not tell it, its downloads."""
    if isinstance(source, Declares):
        return source.declared(export)
    return Declared(source, list_downloads(source, export, on_listing))


def asked_for(declared: Declared) -> dict[str, Any]:
    """Return what was asked for, as it stands in the certificate."""
    document = {
        "types": None if declared.types is None else sorted(declared.types),
        "since": declared.since and time_text(declared.since),
        "transaction_time": declared.transaction_time and time_text(declared.transaction_time),
    }
    return {name: value for name, value in document.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Specs:
    """How the downloads of an export are read: with the same key, in the window of time that each declares."""

    kernel: str
    key: bytes
    max_pairs: int
    csv: CsvFormat
    fhir: FhirFormat
    declared: Declared
    ids: bool

    def of(self, number: int, download: Download) -> CsvReading | ResourceReading:
        """Return what makes the accumulators of a download, by its format."""
        if download.format == "csv":
            window = microseconds(download.start_time), microseconds(download.end_time)
            return CsvReading(self.kernel, self.key, number, *window, self.max_pairs, self.csv)
        window = microseconds(self.declared.since), microseconds(self.declared.transaction_time)
        base = download.base.rstrip("/") if download.base else None
        return ResourceReading(
            self.kernel, self.key, number, *window, self.max_pairs, self.ids, self.fhir.max_row_bytes, base
        )


def microseconds(time: datetime | None) -> int | None:
    """Return a time in microseconds since 1970."""
    return None if time is None else (time - EPOCH) // timedelta(microseconds=1)


class Collected:
    """What was found in the downloads so far."""

    def __init__(self, declared: Declared, max_pairs: int, export: str) -> None:
        self.total = RunningTotal(max_pairs, f"export {export!r}")
        self._declared = declared
        self._documents: dict[int, Mapping[str, Any]] = {}
        self._findings: dict[int, Findings] = {}

    def add(self, number: int, result: WholeRecords | Broken) -> None:
        """Add what came of a download. Raises UntrustedDataError when there are too many pairs in all."""
        download = self._declared.downloads[number]
        size, sha256 = self._declared.sizes.get(download.id, download.size), self._declared.sha256.get(download.id)
        declared = Bytes(size, sha256)
        document = {"id": download.id, "declared": declared_document(download, declared)}
        if isinstance(result, WholeRecords):
            self.total.add(result.found.counts)
            self._findings[number] = judge_download(download, declared, result.found, result.seen)
            self._documents[number] = {**document, "found": found_document(result.found, result.seen)}
            return
        findings = self._findings[number] = Findings()
        code = "download-missing" if result.missing else "download-broken"
        findings.add(code, "error", [{"download": download.id, "reason": result.reason}])
        self._documents[number] = {**document, "broken": result.reason}

    def documents(self) -> list[Mapping[str, Any]]:
        """Return the downloads in their order, as they stand in the certificate."""
        return [document for _, document in sorted(self._documents.items())]

    def findings(self) -> Iterator[Finding]:
        """Yield the findings of all downloads, in their order, and what was declared and is not there."""
        for _, findings in sorted(self._findings.items()):
            yield from findings
        others, declared = Findings(), self._declared
        for code, names in (("download-missing", declared.missing), ("download-undeclared", declared.undeclared)):
            others.add(code, "error", [{"download": name} for name in names[:FIRST_PLACES]], len(names))
        for severity, known in (("error", ("fatal", "error")), ("warning", ("warning",))):
            issues = {issue: n for issue, n in sorted(declared.issues.items()) if issue[0] in known}
            others.add(
                "server-error",
                severity,  # type: ignore[arg-type]
                [{"severity": issue[0], "code": issue[1]} for issue in list(issues)[:FIRST_PLACES]],
                sum(issues.values()),
                {" ".join(issue): n for issue, n in issues.items()},
            )
        yield from others


def fold_distinct(records: Runs, memory: int, kernel: str) -> DistinctKeys:
    """Return how many distinct keys there are, and the repeats."""
    spilled = sum(run.stat().st_size for run in records.runs if isinstance(run, Path))
    if spilled:
        log.info("keys of %s records; %s MB of them on disk", f"{records.records:,}", f"{spilled / 1e6:,.0f}")
    distinct = choose_distinct(kernel)()
    for block in sorted_blocks(records, memory=memory, kernel=kernel):
        distinct.feed(block)
    return distinct.finish()


def compare_totals(source: Source, export: str, found: Counts, types: Sequence[str]) -> Findings:
    """Return of which types the server counts another number."""
    findings, totals = Findings(), found.totals
    for name, number in totals_of(source, export, sorted({*totals, *types})).items():
        if number != totals.get(name, 0):
            findings.add("total-differs", "warning", [{"type": name, "server": number, "found": totals.get(name, 0)}])
    return findings


def totals_of(source: Source, export: str, types: Sequence[str]) -> dict[str, int]:
    """Ask a server for its numbers of resources. Raises UsageError for a source that is none, or can't be asked."""
    if not isinstance(source, CountsResources):
        raise UsageError(f"{source.name} is not a FHIR server; only such a server can be asked for its totals")
    return {name: source.resources(export, name) for name in types}
