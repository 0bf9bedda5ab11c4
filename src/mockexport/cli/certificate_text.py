"""A certificate in words: the summary on stderr, and the places of findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockexport.errors import listed
from mockexport.reconciliation import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mockexport.reconciliation import Certificate, Finding

__all__ = ["finding_rows", "place_text", "summary_lines", "verdict_text"]

PLACES_SHOWN = 3
INDENT = "  "


def summary_lines(certificate: Certificate, width: int, *, short: bool) -> Iterator[str]:
    """Yield the lines of the summary; a `short` one leaves out what a table shows."""
    if not short:
        yield verdict_text(certificate)
    found = [(finding, finding.severity) for finding in certificate.findings]
    shown = [*found, *((finding, "accepted") for finding in certificate.accepted)]
    code_width = max((len(finding.code) for finding, _ in shown), default=0)
    digits = max((len(f"{finding.count:,}") for finding, _ in shown), default=0)
    for finding, severity in () if short else shown:
        line = f"{severity:8}  {finding.code:{code_width}}  {finding.count:>{digits},}  "
        yield from wrapped(line + CODES[finding.code], " " * len(line), width)
        places = [place_text(place) for place in finding.places[:PLACES_SHOWN]]
        if finding.count > len(places):
            places.append("…")
        for place in places:
            yield from wrapped(INDENT * 5 + place, INDENT * 6, width)
    yield f"digest  {certificate.digest}"


def verdict_text(certificate: Certificate) -> str:
    """Return in one line whether an export is whole, and how much it is."""
    errors = sum(finding.severity == "error" for finding in certificate.findings)
    kinds = {
        "error": errors,
        "warning": len(certificate.findings) - errors,
        "accepted finding": len(certificate.accepted),
    }
    said = listed([numbered(n, kind) for kind, n in kinds.items() if n])
    whole = "whole" if certificate.whole else "NOT WHOLE"
    parts = [
        numbered(len(certificate.downloads), "download"),
        numbered(sum(certificate.records.values()), "record"),
        numbered(certificate.patients, "patient"),
    ]
    return f"{certificate.export} is {whole}: {', '.join(parts)}{f'; {said}' if said else ''}"


def numbered(number: int, noun: str) -> str:
    """Return a number of things, such as `1 download`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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


def finding_rows(certificate: Certificate) -> Iterator[tuple[object, ...]]:
    """Yield a row of CSV for each finding."""
    for accepted, findings in ((False, certificate.findings), (True, certificate.accepted)):
        for finding in findings:
            yield row_of(finding, accepted=accepted)


def row_of(finding: Finding, *, accepted: bool) -> tuple[object, ...]:
    """Return the row of a finding."""
    places = "; ".join(map(place_text, finding.places))
    return finding.code, finding.severity, str(accepted).lower(), finding.count, CODES[finding.code], places


def wrapped(text: str, indent: str, width: int) -> Iterator[str]:
    """Break a line between words; those that follow are indented."""
    lead = text[: len(text) - len(text.lstrip())]
    line = lead
    for word in text[len(lead) :].split(" "):
        if line.strip() and len(line) + 1 + len(word) > width:
            yield line.rstrip()
            line = indent + word
        else:
            line = f"{line} {word}" if line != lead else line + word
    yield line.rstrip()
