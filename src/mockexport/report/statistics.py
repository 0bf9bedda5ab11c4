"""The report of `stats`."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from mockexport.formatting import share_text, short_time, span_text, value_text
from mockexport.report.markup import element, fragment, source_text
from mockexport.report.page import facts, note, page, section
from mockexport.report.plots import bar, spread
from mockexport.report.tables import ABSENT, Cell, Column, number, shortened, table
from mockexport.stats import FLAWS, badness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mockexport.report.markup import Content, Markup
    from mockexport.report.page import About

__all__ = ["statistics_report"]

TYPES_SHOWN = 200
PAIRS_SHOWN = 200
MANY_ANOMALIES = 0.05  # of the numbers, from which on they are shown as bad


def statistics_report(document: Mapping[str, Any], about: About) -> str:
    """Return the report of statistics, from the document that `stats` writes (docs/cli.md, "Output")."""
    totals, everything = document["totals"], document["all"]
    by_size = sorted(totals, key=lambda name: (-totals[name]["count"], name))
    types, said = shortened(by_size, TYPES_SHOWN, "types", "those with the most records")
    pairs = sum(len(found) for found in document["patients"].values())
    window = [short_time(everything[name]) for name in ("first", "last") if everything[name]]
    return page(
        "Statistics",
        about,
        facts(
            ("Records", f"{everything['count']:,}"),
            ("Patients", f"{len(document['patients']):,}"),
            ("Types", f"{len(totals):,}"),
            ("Anomalies", f"{everything['anomalies']:,}"),
            ("From, UTC", window[0] if window else "·"),
            ("To, UTC", window[-1] if window else "·"),
        ),
        [note(text) for text in _notes(document)],
        section("Values", _values(totals, types), note(said) if said else None),
        section("Anomalies", _anomalies(totals, types, document.get("ranges"))),
        section("Times", _times(totals, types)),
        section("Patients and types", *_pairs(document["patients"], totals)) if pairs else None,
    )


def _notes(document: Mapping[str, Any]) -> Iterator[str]:
    if any(figures.get("approximate") for figures in document["totals"].values()):
        yield "Median, p05 and p95 of more than 4,096 distinct values are within 1%. All other figures are exact."
    if flaws := [f"{document['all'][name]:,} {text}" for name, text in FLAWS.items() if document["all"].get(name)]:
        yield f"Of {document['all']['count']:,} records: {', '.join(flaws)}."
    if "only" in document:
        yield f"Of these patients alone: {', '.join(document['only'])}."
    if "suppressed" in document:
        of = document["suppressed"]
        pairs = f"{of['cells']:,} pairs of patient and type"
        yield f"Left out, of the totals too: {pairs} with fewer than {of['below']:,} records."
    if found := document.get("left_out"):
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in found.items())
        yield f"Malformed rows, left out: {sum(found.values()):,} ({reasons})."
    if found := document.get("unassigned"):
        yield f"Records without a patient, in no figure: {sum(sum(reasons.values()) for reasons in found.values()):,}."


def _values(totals: Mapping[str, Any], types: Sequence[str]) -> Markup:
    columns = [
        Column("Type"), Column("Records", "number"), Column("Mean", "number"), Column("SD", "number"),
        Column("Min", "number"), Column("p05", "number"), Column("From min to max", "plot"), Column("Median", "number"),
        Column("p95", "number"), Column("Max", "number"),
    ]  # fmt: skip

    def row(name: str) -> list[Content | Cell]:
        of = totals[name]
        return [
            source_text(name), number(of["count"]), _value(of.get("mean"), digits=1), _value(of.get("sd"), digits=1),
            _value(of.get("min")), _value(of.get("p05")), _spread(of, of), _value(of.get("median")),
            _value(of.get("p95")), _value(of.get("max")),
        ]  # fmt: skip

    return fragment(
        table("Values by type", columns, map(row, types)),
        element("p", "The line is from the smallest to the largest value, the box has the middle 90 per cent, and the "
                "mark within is the median. Each type has a scale of its own.", class_="faint"),
    )  # fmt: skip


def _anomalies(totals: Mapping[str, Any], types: Sequence[str], ranges: Mapping[str, Any] | None) -> Markup:
    columns = [
        Column("Type"), Column("Anomalies", "number"), Column("Of its numbers", "number"),
        Column(element("span", "Anomalies, drawn", class_="unseen"), "plot"), *([Column("Range")] if ranges else []),
    ]  # fmt: skip
    shares = {name: totals[name]["anomalies"] / (_numbers(totals[name]) or 1) for name in types}
    largest = max(shares.values(), default=0)

    def row(name: str) -> list[Content | Cell]:
        found = totals[name]["anomalies"]
        kind = "bad-fill" if shares[name] >= MANY_ANOMALIES else "fill"
        cells: list[Content | Cell] = [
            source_text(name), _anomaly(totals[name]), share_text(found, _numbers(totals[name])),
            bar(shares[name], largest, kind),
        ]  # fmt: skip
        return [*cells, _range(ranges.get(name))] if ranges else cells

    return fragment(
        table("Anomalies by type", columns, map(row, types)),
        element(
            "p",
            "An anomaly is a value outside the range of its type. Types with 5 per cent and more are marked.",
            class_="faint",
        ),
    )


def _times(totals: Mapping[str, Any], types: Sequence[str]) -> Markup:
    columns = [
        Column("Type"), Column("Latency", "number"), Column("Longest gap", "number"),
        Column(element("span", "Longest gap, drawn", class_="unseen"), "plot"), Column("It begins, UTC", "time"),
        *(Column(heading, "number") for heading in ("Duplicates", "Out of order", "Future")),
    ]  # fmt: skip
    largest = max((totals[name]["longest_gap"] or 0 for name in types), default=0)

    def row(name: str) -> list[Content | Cell]:
        of = totals[name]
        start = of["longest_gap_start"]
        return [
            source_text(name), _span(of["latency"]), _span(of["longest_gap"]), bar(of["longest_gap"] or 0, largest),
            short_time(start) if start else ABSENT,
            *(number(of[flaw] or None, "notice") for flaw in ("duplicates", "out_of_order", "future")),
        ]  # fmt: skip

    return fragment(
        table("Times by type", columns, map(row, types)),
        element(
            "p",
            "A gap is the time from a record to the next one of its patient and type; latency is the average gap.",
            class_="faint",
        ),
    )


def _pairs(patients: Mapping[str, Any], totals: Mapping[str, Any]) -> Iterator[Markup]:
    pairs = [(patient, name, figures) for patient, found in patients.items() for name, figures in found.items()]
    if len(pairs) > PAIRS_SHOWN:
        shown = heapq.nsmallest(PAIRS_SHOWN, pairs, key=lambda pair: (*badness(pair[2]), pair[0], pair[1]))
        yield note(
            f"{PAIRS_SHOWN} of {len(pairs):,} pairs of patient and type: those with the most anomalies, then the most "
            "values that are no numbers, then the longest gap. The command's own output has all of them."
        )
    else:
        shown = pairs
    columns = [
        Column("Patient"), Column("Type", "name"), Column("Records", "number"), Column("Mean", "number"),
        Column("Min", "number"), Column("On the scale of the type", "plot"), Column("Max", "number"),
        Column("Anomalies", "number"), Column("Latency", "number"), Column("Longest gap", "number"),
    ]  # fmt: skip
    yield table(
        "Figures by patient and type",
        columns,
        [
            [
                source_text(patient), source_text(name), number(of["count"]), _value(of.get("mean"), digits=1),
                _value(of.get("min")), _spread(of, totals[name]), _value(of.get("max")), _anomaly(of),
                _span(of["latency"]), _span(of["longest_gap"]),
            ]
            for patient, name, of in shown
        ],
    )  # fmt: skip


def _numbers(figures: Mapping[str, Any]) -> int:
    found: int = figures["count"] - figures["not_a_number"]
    return found


def _value(value: float | None, *, digits: int | None = None) -> Content | Cell:
    return ABSENT if value is None else value_text(value, digits=digits)


def _span(seconds: float | None) -> Content | Cell:
    return ABSENT if seconds is None else span_text(seconds)


def _spread(figures: Mapping[str, Any], total: Mapping[str, Any]) -> Content | Cell:
    if figures.get("min") is None or total.get("min") is None:
        return ABSENT
    return spread(figures, total["min"], total["max"])


def _anomaly(figures: Mapping[str, Any]) -> Cell:
    found = figures["anomalies"]
    return number(found or None, "bad" if found >= MANY_ANOMALIES * _numbers(figures) else "notice")


def _range(ends: Sequence[float | None] | None) -> Content | Cell:
    if ends is None:
        return ABSENT
    low, high = ("" if end is None else value_text(end) for end in ends)
    return f"{low} to {high}".strip() if low or high else ABSENT
