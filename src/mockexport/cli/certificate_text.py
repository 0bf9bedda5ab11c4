"""A certificate in words: the summary on stderr, and the rows of CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.reconciliation import CODES, place_text, verdict_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.reconciliation import Certificate, Finding

__all__ = ["finding_rows", "summary_lines"]

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
