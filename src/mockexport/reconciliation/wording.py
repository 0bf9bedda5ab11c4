"""A certificate in words: its verdict, and the places of findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockexport.errors import listed
from mockexport.formatting import numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.reconciliation.certificate import Certificate

__all__ = ["place_text", "verdict_text"]


def verdict_text(certificate: Certificate) -> str:
    """Return in one line whether an export is whole, and how much it is."""
    errors = sum(finding.severity == "error" for finding in certificate.findings)
    kinds = {
        "error": errors,
        "warning": len(certificate.findings) - errors,
        "accepted finding": len(certificate.accepted),
    }
    said = listed([numbered(n, kind) for kind, n in kinds.items() if n])
    notes = [said] if said else []
    if certificate.without_rows:
        notes.append(f"of {numbered(certificate.without_rows, 'download')} no number of rows was declared")
    whole = "whole" if certificate.whole else "NOT WHOLE"
    parts = [
        numbered(len(certificate.downloads), "download"),
        numbered(sum(certificate.records.values()), "record"),
        numbered(certificate.patients, "patient"),
    ]
    return "; ".join([f"{certificate.export} is {whole}: {', '.join(parts)}", *notes])


def place_text(place: Mapping[str, Any]) -> str:
    """Return a place of a finding in words."""
    rest = dict(place)
    parts = [str(rest.pop("download"))] if "download" in rest else []
    if "line" in rest:
        parts.append(f"line {rest.pop('line'):,}")
    if "repeats" in rest:
        first = rest.pop("repeats")
        where = "" if first["download"] == place.get("download") else f" of {first['download']}"
        parts.append(f"again line {first['line']:,}{where}")
    if "reason" in rest:
        parts.append(str(rest.pop("reason")))
    for name, value in rest.items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        parts.append(text if name in ("patient", "type", "id", "is", "severity", "code") else f"{name} {text}")
    return ", ".join(parts)
