"""Findings: what is not as it was declared or as it should be, by stable codes (docs/reconcile.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mockexport.errors import UsageError, listed, suggestion
from mockexport.reconciliation.contract import FIRST_PLACES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["CODES", "WHAT_TO_DO", "Finding", "Findings", "Place", "Severity", "check_codes"]

Severity: TypeAlias = Literal["error", "warning"]

Place: TypeAlias = Mapping[str, Any]
"""Where something was found: a download and a line, a patient, a type; by the names of the JSON."""

CODES = {
    "rows-differ": "downloads with other rows than declared",
    "bytes-differ": "downloads of another size than declared",
    "checksum-differs": "downloads with another SHA-256 than declared",
    "download-missing": "files that were declared and are not there",
    "download-undeclared": "files that are there and were not declared",
    "download-broken": "downloads that could not be read to their end",
    "malformed": "rows that are no records",
    "patient-undeclared": "patients that their download does not declare",
    "patient-absent": "declared patients without a record",
    "type-undeclared": "types that their download does not declare",
    "type-absent": "declared or requested types without a record",
    "outside-window": "records outside the declared window of time",
    "duplicate": "records that are twice in a download",
    "duplicate-across": "records that are in another download, too",
    "deleted-present": "records that were said to be deleted",
    "server-error": "issues that the server told of",
    "reference-missing": "patients that are referred to and were not exported",
    "patient-empty": "patients without any other record",
    "unassigned": "records without a patient",
    "subsetted": "records that are not whole: tagged SUBSETTED",
    "total-differs": "types of which the server counts another number",
}
"""All codes, in the order in which they are shown, and what each counts."""

WHAT_TO_DO = {
    "rows-differ": "Fetch it again. If it stays, ask the server's operator which of the two is wrong.",
    "bytes-differ": "Fetch it again; a proxy may have cut or changed it.",
    "checksum-differs": "The file was changed after the fetch: fetch it again.",
    "download-missing": "mockexport downloads fetch completes a folder.",
    "download-undeclared": "Move it away, or list it.",
    "download-broken": "Do what the reason says, then run again.",
    "malformed": "Have the rows repaired at the source.",
    "patient-undeclared": "Ask why: these may be another's data.",
    "patient-absent": "Expected for patients without events; ask otherwise.",
    "type-undeclared": "Look at the places; a file may be mixed up.",
    "type-absent": "Check the scopes of the client, and the spelling of the type.",
    "outside-window": "The next export since transactionTime may bring these again, or miss others.",
    "duplicate": "CSV: readings may repeat; decide. FHIR: an id must be unique. Take it once.",
    "duplicate-across": "Pages of the export overlap: do not add them up.",
    "deleted-present": "Ask which of the two is right; it may have been created anew.",
    "server-error": "Something was left out. Read the issues, and export again.",
    "reference-missing": "Export the missing patients, or find out who may not see them.",
    "patient-empty": "Expected for some; many mean that a type is missing.",
    "unassigned": "They are in no patient's numbers.",
    "subsetted": "Export without _elements, or know what you lack.",
    "total-differs": "The server has changed since, or the export is not all.",
}
"""What to do about each finding; docs/reconcile.md says the same."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How often something was found, the first places, and where it helps the numbers `by` what it is."""

    code: str
    severity: Severity
    count: int
    places: tuple[Place, ...] = ()
    by: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as it stands in the certificate."""
        document = {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "places": [dict(place) for place in self.places],
        }
        return document | ({"by": dict(sorted(self.by.items()))} if self.by else {})


class Findings:
    """Findings as they grow: those of a code and severity are one."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._found: dict[tuple[str, Severity], Finding] = {}
        for finding in findings:
            self._add(finding)

    def add(
        self,
        code: str,
        severity: Severity,
        places: Iterable[Place],
        count: int | None = None,
        by: Mapping[str, int] | None = None,
    ) -> None:
        """Add what was found at some places; `count` is how often, where it is not once at each. 0 is no finding."""
        kept = tuple(places)
        self._add(Finding(code, severity, len(kept) if count is None else count, kept, by or {}))

    def __iter__(self) -> Iterator[Finding]:
        codes = list(CODES)
        return iter(sorted(self._found.values(), key=lambda found: (codes.index(found.code), found.severity)))

    def _add(self, finding: Finding) -> None:
        if not finding.count:
            return
        known = self._found.get((finding.code, finding.severity))
        if known:
            by = Counter(known.by)
            by.update(finding.by)
            finding = replace(finding, count=known.count + finding.count, places=known.places + finding.places, by=by)
        kept = finding.places[:FIRST_PLACES]
        self._found[finding.code, finding.severity] = replace(finding, places=kept)


def check_codes(option: str, codes: Collection[str]) -> None:
    """Raise UsageError for a code that there is not; `option` is how it was given."""
    for code in codes:
        if code not in CODES:
            hint = suggestion(code, CODES) or f"; there are {listed([*CODES])}"
            raise UsageError(f"{option} {code!r} is not the code of a finding{hint}")
