"""What the tests of `reconcile` share: exports in memory, and findings by their codes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
from tests.sources import EXPORT, HEADER, MemorySource

from mockexport import reconcile
from mockexport.source import Declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport import Certificate, Download

__all__ = ["DeclaringSource", "codes", "csv", "found", "ndjson", "reconciled"]


def csv(*rows: str) -> bytes:
    """A body of rows such as `P1,10:00,hr`; the times are of one day, and the values are all 1."""
    lines = [f"{p},2025-01-01T{t}:00Z,{e},1\n" for p, t, e in (row.split(",") for row in rows)]
    return HEADER + "".join(lines).encode()


def ndjson(*resources: Mapping[str, Any]) -> bytes:
    return b"".join(orjson.dumps(resource) + b"\n" for resource in resources)


@dataclass
class DeclaringSource(MemorySource):
    """It declares what it is told to: fields of Download, by id, and what a source that `Declares` tells beside."""

    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    format: str = "csv"
    not_listed: Sequence[str] = ()

    def downloads(self, export: str) -> Sequence[Download]:
        return [
            replace(download, format=self.format, **self.fields.get(download.id, {}))
            for download in super().downloads(export)
            if download.id not in self.not_listed
        ]

    def declared(self, export: str) -> Declared:
        return Declared(self, self.downloads(export), **self.told)


def reconciled(bodies: Mapping[str, bytes], kernel: str = "auto", **source: Any) -> Certificate:
    """Reconcile an export of these bodies."""
    return reconcile(DeclaringSource(bodies, **source), EXPORT, kernel=kernel)


def codes(certificate: Certificate) -> dict[str, tuple[str, int]]:
    """Return the severity and the count of each finding, by its code."""
    return {finding.code: (finding.severity, finding.count) for finding in certificate.findings}


def found(certificate: Certificate, code: str) -> list[dict[str, Any]]:
    """Return the places of a finding."""
    (finding,) = (finding for finding in certificate.findings if finding.code == code)
    return [dict(place) for place in finding.places]
