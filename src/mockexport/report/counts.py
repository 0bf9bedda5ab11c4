"""The report of `count`."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from mockexport.formatting import numbered, value_text
from mockexport.outliers import deviations, mark_of
from mockexport.report.by_type import records_by_type
from mockexport.report.markup import element, source_text
from mockexport.report.page import facts, note, page, section
from mockexport.report.plots import HEAT, heat_map
from mockexport.report.tables import ABSENT, Cell, Column, number, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mockexport.report.markup import Markup
    from mockexport.report.page import About

__all__ = ["counts_report"]

TYPES_ACROSS = 8  # columns of the table of patients, which is to fit on paper
TYPES_DRAWN = 24  # rows of the heat map
UNASSIGNED_SHOWN = 20
PATIENTS_SHOWN = 400
PATIENTS_DRAWN = 40  # columns of the heat map
EXTREMES = 15
MINUS = str.maketrans("-", "\N{MINUS SIGN}")


class Extreme(NamedTuple):
    """A count that stands out: by how many standard deviations it is above the mean of its type."""

    distance: float
    patient: str
    type: str


class Outliers:
    """How far the counts of the types with the most records are from their means."""

    def __init__(self, patients: Mapping[str, Mapping[str, int]], types: Sequence[str]) -> None:
        self.of = {name: deviations(patients, name) for name in types}

    def worst(self, many: int) -> list[Extreme]:
        """Return the counts that stand out the most, the farthest first."""
        found = (
            Extreme(distance, patient, name)
            for name, distances in self.of.items()
            for patient, distance in distances.items()
            if mark_of(distance)
        )
        return heapq.nsmallest(many, found, key=lambda one: (-abs(one.distance), one.patient, one.type))

    def patients(self, patients: Sequence[str], many: int) -> list[str]:
        """Return so many patients at most: half of them those that stand out the most, and the first others."""
        if len(patients) <= many:
            return list(patients)
        farthest = {name: max(abs(of[name]) for of in self.of.values()) for name in patients}
        chosen = set(heapq.nsmallest(many // 2, patients, key=lambda name: (-farthest[name], name)))
        chosen.update([name for name in patients if name not in chosen][: many - len(chosen)])
        return sorted(chosen)


def counts_report(document: Mapping[str, Any], about: About) -> str:
    """Return the report of a count, from the document that `count` writes (docs/cli.md, "Output")."""
    patients, totals = document["patients"], document["totals"]
    by_size = sorted(totals, key=lambda name: (-totals[name], name))
    outliers = Outliers(patients, sorted(by_size[:TYPES_DRAWN])) if patients else None
    return page(
        "Counts",
        about,
        facts(
            ("Records", f"{sum(totals.values()):,}"),
            ("Patients", f"{len(patients):,}"),
            ("Types", f"{len(totals):,}"),
        ),
        [note(text) for text in _left_out(document)],
        section("Records by type", *records_by_type(totals)),
        section("Where counts stand out", *_stand_out(patients, outliers, len(totals))) if outliers else None,
        section("Patients by types", *_patients(patients, by_size, outliers)) if outliers else None,
    )


def _left_out(document: Mapping[str, Any]) -> Iterator[str]:
    if found := document.get("left_out"):
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in found.items())
        yield f"Malformed rows, left out: {sum(found.values()):,} ({reasons})."
    if found := document.get("unassigned"):
        numbers = [(n, name, reason) for name, reasons in found.items() for reason, n in reasons.items()]
        named = ", ".join(
            f"{name} {reason} {n:,}" for n, name, reason in sorted(numbers, reverse=True)[:UNASSIGNED_SHOWN]
        )
        yield f"Records without a patient, in the totals alone: {sum(n for n, _, _ in numbers):,} ({named})."


def _stand_out(patients: Mapping[str, Mapping[str, int]], outliers: Outliers, types: int) -> Iterator[Markup]:
    worst = outliers.worst(EXTREMES)
    yield element(
        "p",
        "A count stands out if it is more than one standard deviation above or below the mean of its type over all "
        "patients; a patient without a record counts as 0.",
    )
    if len(outliers.of) < types:
        yield note(f"Looked at are the {len(outliers.of)} types with the most records, of {types:,}.")
    if not worst:
        yield element("p", "No count stands out.")
        return
    names = list(patients)
    drawn = outliers.patients(names, PATIENTS_DRAWN)
    told = "; ".join(f"{one.patient}, {one.type}: {mark_of(one.distance)}" for one in worst)
    yield heat_map(drawn, outliers.of, f"Counts that stand out: {told}")
    yield _legend()
    if len(drawn) < len(names):
        half = PATIENTS_DRAWN // 2
        yield note(
            f"Drawn are {len(drawn)} of {len(names):,} patients, from left to right by id: "
            f"the {half} that stand out the most, and the first {len(drawn) - half} others."
        )
    columns = [
        Column("Patient"), Column("Type", "name"), Column("Records", "number"), Column("Mean of the type", "number"),
        Column("Standard deviations", "number"),
    ]  # fmt: skip
    means = {name: sum(types.get(name, 0) for types in patients.values()) / len(patients) for name in outliers.of}
    yield table(
        "The counts that stand out the most",
        columns,
        [
            [
                source_text(one.patient),
                source_text(one.type),
                f"{patients[one.patient].get(one.type, 0):,}",
                value_text(means[one.type], digits=1),
                f"{one.distance:+.1f}".translate(MINUS),
            ]
            for one in worst
        ],
    )


def _legend() -> Markup:
    texts = {
        "++": "more than 2 standard deviations above the mean",
        "+": "more than 1 above",
        "-": "more than 1 below",
        "--": "more than 2 below",
    }
    return element(
        "ul",
        [
            element("li", element("span", _sign(mark), class_=f"swatch {HEAT[mark]}"), text)
            for mark, text in texts.items()
        ],
        class_="legend",
    )


def _sign(mark: str) -> str:
    arrow = {"+": "▲", "-": "▼", "": ""}[mark[:1]]
    return f"{arrow} {mark.translate(MINUS)}".strip()


def _patients(
    patients: Mapping[str, Mapping[str, int]], by_size: Sequence[str], outliers: Outliers
) -> Iterator[Markup]:
    shown = outliers.patients(sorted(patients), PATIENTS_SHOWN)
    types, others = sorted(by_size[:TYPES_ACROSS]), len(by_size[TYPES_ACROSS:])
    columns = [Column("Patient"), *(Column(source_text(name), "number count") for name in types)]
    if others:
        columns.append(Column(numbered(others, "other type"), "number"))
    columns.append(Column("All types", "number"))

    def row(patient: str) -> list[Any]:
        counts = patients[patient]
        cells = [_count(counts.get(name), mark_of(outliers.of[name][patient])) for name in types]
        total = sum(counts.values())
        rest = [number(total - sum(counts.get(name, 0) for name in types))] if others else []
        return [source_text(patient), *cells, *rest, number(total)]

    in_all = [sum(counts.get(name, 0) for counts in patients.values()) for name in types]
    everything = sum(sum(counts.values()) for counts in patients.values())
    footer = [f"{n:,}" for n in (*in_all, *([everything - sum(in_all)] if others else []), everything)]
    yield table("Records by patient and type", columns, map(row, shown), [["All patients", *footer]])
    if len(shown) < len(patients):
        half = PATIENTS_SHOWN // 2
        yield note(
            f"{len(shown):,} of {len(patients):,} patients: the {half} that stand out the most, and the first "
            f"{len(shown) - half} others. The last row has all; so has the command's own output, patient by patient."
        )


def _count(n: int | None, mark: str) -> Cell:
    shown = ABSENT.content if n is None else f"{n:,}"
    sign = element("span", mark.translate(MINUS), class_="mark")
    return Cell([shown, sign], HEAT[mark] if mark else ABSENT.mood if n is None else "")
