"""Declared against found: the findings of a download, and those of an export as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mockexport.model import time_text
from mockexport.reconciliation.contract import FIRST_PLACES
from mockexport.reconciliation.findings import Findings
from mockexport.stats import text_of_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mockexport.model import Counts, Download
    from mockexport.reconciliation.contract import Lines
    from mockexport.reconciliation.findings import Place, Severity
    from mockexport.reconciliation.kernel import Found
    from mockexport.sorting import DistinctKeys

__all__ = ["Bytes", "declared_document", "found_document", "judge_download", "judge_export", "judge_repeats"]

NO_PATH = "no-patient-path"


@dataclass(frozen=True, slots=True)
class Bytes:
    """How many bytes a download has, and their SHA-256; None for what is not known."""

    size: int | None
    sha256: str | None


def declared_document(download: Download, declared: Bytes) -> dict[str, Any]:
    """Return what was declared of a download, as it stands in the certificate; what was not is left out."""
    document = {
        "rows": download.rows,
        "bytes": declared.size,
        "sha256": declared.sha256,
        "patients": None if download.patients is None else len(download.patients),
        "types": None if download.event_types is None else sorted(download.event_types),
        "first": download.start_time and time_text(download.start_time),
        "last": download.end_time and time_text(download.end_time),
    }
    return {name: value for name, value in document.items() if value is not None}


def found_document(found: Found, seen: Bytes) -> dict[str, Any]:
    """Return what was found in a download, likewise."""
    facts = found.facts
    return {
        "rows": found.counts.rows_seen,
        "bytes": seen.size,
        "sha256": seen.sha256,
        "patients": len(found.counts.patients),
        "types": dict(sorted(found.counts.totals.items())),
        "first": None if facts.first is None else text_of_time(facts.first),
        "last": None if facts.last is None else text_of_time(facts.last),
    } | ({"no_time": facts.no_time} if facts.no_time else {})


def judge_download(download: Download, declared: Bytes, found: Found, seen: Bytes) -> Findings:
    """Return what is not as declared in a download that was read whole."""
    findings = Findings()
    counts, facts = found.counts, found.facts
    for code, expected, actual in (
        ("rows-differ", download.rows, counts.rows_seen),
        ("bytes-differ", declared.size, seen.size),
        ("checksum-differs", declared.sha256, seen.sha256),
    ):
        if expected not in (None, actual):
            findings.add(code, "error", [{"download": download.id, "declared": expected, "found": actual}])
    for kind, names, present in (
        ("patient", download.patients, counts.patients.keys()),
        ("type", download.event_types, counts.totals.keys()),
    ):
        if names is not None:
            undeclared, absent = sorted(present - set(names)), sorted(set(names) - present)
            for code, severity, which in (("undeclared", "error", undeclared), ("absent", "warning", absent)):
                places = [{"download": download.id, kind: name} for name in which[:FIRST_PLACES]]
                findings.add(f"{kind}-{code}", severity, places, len(which))  # type: ignore[arg-type]
    _add_lines(findings, "malformed", "error", download, facts.malformed, "reason")
    outside = {name: lines for name, lines in (("before", facts.before), ("after", facts.after)) if lines.rows}
    _add_lines(findings, "outside-window", "error" if download.format == "csv" else "warning", download, outside, "is")
    _add_lines(findings, "subsetted", "warning", download, {"": facts.subsetted}, None)
    return findings


def _add_lines(
    findings: Findings,
    code: str,
    severity: Severity,
    download: Download,
    lines: Mapping[str, Lines],
    named: str | None,
) -> None:
    """Add rows of several kinds; `named` is the name of the kind in a place."""
    places = sorted((line, kind) for kind, of_kind in lines.items() for line in of_kind.first)
    findings.add(
        code,
        severity,
        [
            {"download": download.id, "line": line} | ({named: kind} if named else {})
            for line, kind in places[:FIRST_PLACES]
        ],
        sum(of_kind.rows for of_kind in lines.values()),
        {kind: of_kind.rows for kind, of_kind in lines.items()} if named else None,
    )


def judge_repeats(downloads: Sequence[Download], distinct: DistinctKeys) -> Findings:
    """Return which records are there twice, in a download or in several; downloads go by their numbers."""
    findings = Findings()
    is_csv = [download.format == "csv" for download in downloads]

    def places(repeats: Iterable[Any], csv: bool | None) -> list[Place]:
        return [
            {
                "download": downloads[repeat.download].id,
                "line": repeat.line,
                "repeats": {"download": downloads[repeat.first_download].id, "line": repeat.first_line},
            }
            for repeat in repeats
            if csv in (None, is_csv[repeat.download])
        ]

    for csv, severity in ((False, "error"), (True, "warning")):
        count = sum(rows for number, rows in distinct.within.items() if is_csv[number] is csv)
        findings.add("duplicate", severity, places(distinct.first_within, csv), count)  # type: ignore[arg-type]
    findings.add("duplicate-across", "error", places(distinct.first_across, None), sum(distinct.across.values()))
    return findings


def judge_export(total: Counts, *, of_fhir: bool, types: Sequence[str] | None) -> Findings:
    """Return what the counts of all downloads tell.

    `of_fhir` says whether they are of FHIR resources by type, and `types` which types were asked for, all if it is
    empty; None if that is not known.
    """
    findings = Findings()
    if not of_fhir:
        return findings
    totals = total.totals
    findings.add("type-absent", "warning", [{"type": name} for name in types or () if name not in totals])
    asked_for_patients = types is not None and (not types or "Patient" in types)
    if "Patient" in totals or asked_for_patients:
        missing = sorted(name for name, counts in total.patients.items() if "Patient" not in counts)
        findings.add("reference-missing", "error", _patients(missing), len(missing))
    asked_for_others = types is not None and (not types or len({*types, "Patient"}) > 1)
    if totals.keys() - {"Patient"} or asked_for_others:
        empty = sorted(name for name, counts in total.patients.items() if counts.keys() == {"Patient"})
        findings.add("patient-empty", "warning", _patients(empty), len(empty))
    without = {
        (name, reason): n
        for name, reasons in sorted(total.unassigned.items())
        for reason, n in sorted(reasons.items())
        if reason != NO_PATH
    }
    findings.add(
        "unassigned",
        "warning",
        [{"type": name, "reason": reason} for name, reason in islice(without, FIRST_PLACES)],
        sum(without.values()),
        {f"{name} {reason}": n for (name, reason), n in without.items()},
    )
    return findings


def _patients(names: Sequence[str]) -> list[Place]:
    return [{"patient": name} for name in names[:FIRST_PLACES]]
