"""The table of `reconcile`: the downloads as declared and found, and the findings below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group

from mockexport.cli.grid import Cell, Column, Grid
from mockexport.cli.styles import BAD, FAINT, GOOD, NOTICE
from mockexport.cli.tables import shortened
from mockexport.encoding import printable
from mockexport.reconciliation import place_text, verdict_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mockexport.reconciliation import Certificate, Finding

__all__ = ["certificate_table"]

ABSENT = Cell("·", FAINT)
STYLES = {"error": BAD, "warning": NOTICE, "accepted": FAINT}
COLUMNS = (
    Column("download"),
    Column("rows", right=True),
    Column("declared", right=True),
    Column("bytes", right=True, optional=True),
    Column("patients", right=True, optional=True),
    Column("types", right=True, optional=True),
    Column("first (UTC)", optional=True),
    Column("last (UTC)", optional=True),
    Column("sha256", optional=True),
)
FINDING_COLUMNS = (
    Column("severity"),
    Column("code"),
    Column("count", right=True),
    Column("first place", optional=True),
)


def certificate_table(certificate: Certificate, *, all_rows: bool) -> Group:
    """Return the tables of a certificate."""
    shown, notes = shortened(certificate.downloads, "downloads", all_rows=all_rows)
    rows = [None if document is None else download_row(document) for document in shown]
    parts: list[Any] = [Grid(COLUMNS, rows, notes=[*notes, Cell("")])]
    findings = [
        *((finding, finding.severity) for finding in certificate.findings),
        *((finding, "accepted") for finding in certificate.accepted),
    ]
    if findings:
        columns = [
            Column("severity"),
            Column("code"),
            Column("count", right=True),
            Column("first place", optional=True),
        ]
        parts.append(Grid(columns, [finding_row(*found) for found in findings], notes=[Cell("")]))
    parts.append(Grid([], [], notes=[Cell(printable(verdict_text(certificate)), GOOD if certificate.whole else BAD)]))
    return Group(*parts)


def download_row(document: Mapping[str, Any]) -> list[Cell]:
    """Return the row of a download; what differs from what was declared stands out."""
    declared, found = document["declared"], document.get("found")
    if found is None:
        name = Cell(printable(document["id"]), BAD)
        return [name, Cell("not read", BAD), number(declared.get("rows")), *[ABSENT] * (len(COLUMNS) - 3)]
    differs = declared.get("rows") not in (None, found["rows"])
    return [
        Cell(printable(document["id"])),
        number(found["rows"], BAD if differs else ""),
        number(declared.get("rows")),
        number(found["bytes"]),
        number(found["patients"]),
        number(len(found["types"])),
        *(Cell(found[name][:19].replace("T", " ")) if found[name] else ABSENT for name in ("first", "last")),
        Cell(found["sha256"]),
    ]


def number(value: int | None, style: str = "") -> Cell:
    """Return a number as a cell."""
    return ABSENT if value is None else Cell(f"{value:,}", style)


def finding_row(finding: Finding, severity: str) -> list[Cell]:
    """Return the row of a finding."""
    place = printable(place_text(finding.places[0])) if finding.places else ""
    return [Cell(severity, STYLES[severity]), Cell(finding.code), Cell(f"{finding.count:,}"), Cell(place)]
