"""The certificate of an export: what was declared and what was found, and the digest by which two are compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from mockexport._version import __version__
from mockexport.encoding import json_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mockexport.reconciliation.findings import Finding

__all__ = ["Certificate", "certificate_digest", "sorted_out"]

TIMES = ("begun", "ended")  # in no digest


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was declared and found of an export. `findings` are those that count, `accepted` those that are known.

    `begun` and `ended` are times in UTC. `asked` has what was asked for, if that is known. `downloads` has of each what
    was declared and found. `records` counts by type, `patients` are those found, and `distinct` the distinct records.
    `by_patient` and `deleted` are None unless they were asked for.
    """

    source: str
    export: str
    begun: str
    ended: str
    downloads: Sequence[Mapping[str, Any]]
    records: Mapping[str, int]
    patients: int
    distinct: int
    findings: Sequence[Finding] = ()
    accepted: Sequence[Finding] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    by_patient: Mapping[str, Mapping[str, int]] | None = None
    deleted: Sequence[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def without_rows(self) -> int:
        """How many downloads declare no number of rows: of these, nothing tells whether rows are missing."""
        return sum(download["declared"].get("rows") is None for download in self.downloads)

    @property
    def digest(self) -> str:
        """The digest of the document."""
        return certificate_digest(self.document())

    def document(self) -> dict[str, Any]:
        """Return it as JSON: docs/reconcile.md, "The certificate"."""
        document = {
            "mockexport": __version__,
            "source": self.source,
            "export": self.export,
            "begun": self.begun,
            "ended": self.ended,
            "whole": self.whole,
            "downloads": list(self.downloads),
            "records": dict(self.records),
            "patients": self.patients,
            "distinct": self.distinct,
            "findings": [finding.document() for finding in self.findings],
            "accepted": [finding.document() for finding in self.accepted],
        }
        optional = {"asked": self.asked or None, "by_patient": self.by_patient, "deleted": self.deleted}
        document |= {name: value for name, value in optional.items() if value is not None}
        in_order: dict[str, Any] = orjson.loads(canonical(document))
        return in_order


def certificate_digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a certificate's canonical JSON without its times: keys sorted, UTF-8, no white space."""
    kept = {name: value for name, value in document.items() if name not in TIMES}
    return hashlib.sha256(canonical(kept)).hexdigest()


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a document as canonical JSON."""
    return orjson.dumps(orjson.loads(json_bytes(document)), option=orjson.OPT_SORT_KEYS)


def sorted_out(
    findings: Iterable[Finding], allow: Collection[str], deny: Collection[str]
) -> tuple[list[Finding], list[Finding]]:
    """Return the findings that count, with the severity that they have then, and those that are accepted."""
    judged = [replace(found, severity="error") if found.code in deny else found for found in findings]
    return [found for found in judged if found.code not in allow], [found for found in judged if found.code in allow]
