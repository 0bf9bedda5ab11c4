"""The report of `reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mockexport.formatting import short_time
from mockexport.reconciliation import CODES, WHAT_TO_DO, place_text, verdict_text
from mockexport.report.by_type import records_by_type
from mockexport.report.markup import element, source_text
from mockexport.report.page import facts, note, page, section
from mockexport.report.plots import pair_of_bars
from mockexport.report.tables import ABSENT, Cell, Column, number, shortened, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mockexport.reconciliation import Certificate, Finding
    from mockexport.report.markup import Content, Markup
    from mockexport.report.page import About

__all__ = ["certificate_report"]

DOWNLOADS_SHOWN = 400
MOODS = {"error": "bad", "warning": "notice", "accepted": "faint"}


def certificate_report(certificate: Certificate, about: About) -> str:
    """Return the report of a certificate (docs/reconcile.md)."""
    findings = [
        *((finding, finding.severity) for finding in certificate.findings),
        *((finding, "accepted") for finding in certificate.accepted),
    ]
    return page(
        "Certificate",
        about,
        element("p", verdict_text(certificate), class_=f"verdict {'good' if certificate.whole else 'bad'}"),
        facts(
            ("Records", f"{sum(certificate.records.values()):,}"),
            ("Distinct records", f"{certificate.distinct:,}"),
            ("Patients", f"{certificate.patients:,}"),
            ("Downloads", f"{len(certificate.downloads):,}"),
        ),
        section("Findings", _findings(findings)),
        section("Declared and found", *_downloads(certificate.downloads)),
        section("Records by type", *records_by_type(certificate.records)) if certificate.records else None,
        section("Asked for", facts(*((name, _asked(value)) for name, value in certificate.asked.items())))
        if certificate.asked
        else None,
        section(
            "Digest",
            element("p", element("code", certificate.digest)),
            element("p", "The SHA-256 of the certificate without its times: it is the same for the same data of the "
                    "same source.", class_="faint"),
        ),
    )  # fmt: skip


def _findings(findings: Sequence[tuple[Finding, str]]) -> Markup:
    if not findings:
        return element("p", "None: nothing differs from what was declared.")
    columns = [Column("Finding", "wide"), Column("Severity"), Column("Count", "number"), Column("What to do", "text")]
    columns.append(Column("Where", "text"))
    return table(
        "Findings",
        columns,
        [
            [
                [element("code", finding.code), element("div", CODES[finding.code], class_="faint")],
                Cell(severity, MOODS[severity]),
                number(finding.count),
                WHAT_TO_DO[finding.code],
                _places(finding),
            ]
            for finding, severity in findings
        ],
    )


def _places(finding: Finding) -> Content:
    by = ", ".join(f"{name} {n:,}" for name, n in sorted(finding.by.items()))
    places = [element("li", source_text(place_text(place))) for place in finding.places]
    if finding.count > len(places):
        places.append(element("li", "…"))
    return [element("div", source_text(by)) if by else None, element("ul", places, class_="places") if places else None]


def _downloads(downloads: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    unequal = [document for document in downloads if _differs(document)]
    in_order = unequal + [document for document in downloads if not _differs(document)]
    shown, said = shortened(in_order, DOWNLOADS_SHOWN, "downloads", "those with other rows than declared first")
    numbers = [n for document in shown for n in (_declared(document), _found(document)) if n is not None]
    largest = max(numbers, default=0)
    columns = [
        Column("Download", "wide"), Column("Declared rows", "number"), Column("Found", "number"), Column("", "plot"),
        Column("Bytes", "number"), Column("Patients", "number"), Column("Types", "number"),
        Column("First, UTC", "time"), Column("Last, UTC", "time"),
    ]  # fmt: skip
    columns[3] = Column(element("span", "Declared and found, drawn", class_="unseen"), "plot")
    everything = [sum(n or 0 for n in map(of, downloads)) for of in (_declared, _found)]
    sizes = sum(document["found"]["bytes"] or 0 for document in downloads if document.get("found"))
    declares = any(_declared(document) is not None for document in downloads)
    totals = [f"{everything[0]:,}" if declares else "·", f"{everything[1]:,}"]
    footer = ["All downloads", *totals, "", f"{sizes:,}", *[""] * 4]
    yield table("Downloads, as declared and as found", columns, [_row(one, largest) for one in shown], [footer])
    yield element(
        "p", "Of each two bars, the upper one is what was declared, the lower one what was found.", class_="faint"
    )
    if said:
        yield note(said)
    rows = [
        [source_text(document["id"]), element("code", document["found"]["sha256"])]
        for document in shown
        if document.get("found")
    ]
    yield table("SHA-256 of the downloads, as found", [Column("Download"), Column("SHA-256", "text")], rows)


def _row(document: Mapping[str, Any], largest: int) -> list[Content | Cell]:
    name, found = document["id"], document.get("found")
    declared, rows = _declared(document), _found(document)
    if found is None:
        why = element("div", source_text(str(document.get("broken", ""))), class_="faint")
        plot = pair_of_bars(declared, None, largest)
        return [[source_text(name), why], number(declared), Cell("not read", "bad"), plot, *[ABSENT] * 5]
    return [
        source_text(name),
        number(declared),
        number(rows, "bad" if _differs(document) else ""),
        pair_of_bars(declared, rows, largest),
        number(found["bytes"]),
        number(found["patients"]),
        number(len(found["types"])),
        *(short_time(found[end]) if found[end] else ABSENT for end in ("first", "last")),
    ]


def _declared(document: Mapping[str, Any]) -> int | None:
    rows: int | None = document["declared"].get("rows")
    return rows


def _found(document: Mapping[str, Any]) -> int | None:
    found = document.get("found")
    return found["rows"] if found else None


def _differs(document: Mapping[str, Any]) -> bool:
    return not document.get("found") or _declared(document) not in (None, _found(document))


def _asked(value: Any) -> Content:
    if isinstance(value, list | tuple):
        return source_text(", ".join(map(str, value)) or "all")
    return source_text(str(value))
