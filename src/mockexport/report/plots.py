"""Plots as SVG. Those within a table's row stretch with their column; the numbers beside them say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mockexport.outliers import mark_of
from mockexport.report.markup import element

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mockexport.report.markup import Markup

__all__ = ["HEAT", "bar", "heat_map", "pair_of_bars", "spread"]

HEAT = {"++": "heat-high-2", "+": "heat-high-1", "": "heat-0", "-": "heat-low-1", "--": "heat-low-2"}
NAMES = {"++": "very high", "+": "high", "": "near the mean", "-": "low", "--": "very low"}
CELL, GAP, ROW, LABEL = 15, 2, 22, 170  # of the heat map, in pixels
LABEL_LENGTH = 24
ARROWS = {  # in a cell of CELL pixels: seen without colour, too
    "++": "M1.5 13 L7.5 2 L13.5 13 Z",
    "+": "M4 11 L7.5 4.5 L11 11 Z",
    "-": "M4 4.5 L7.5 11 L11 4.5 Z",
    "--": "M1.5 2 L7.5 13 L13.5 2 Z",
}


def bar(value: float, largest: float, kind: str = "fill") -> Markup:
    """Return a bar: as long as its column for the largest value."""
    return _in_row(100, element("rect", width=_place(value, 0, largest), height=12, class_=kind))


def pair_of_bars(declared: float | None, found: float | None, largest: float) -> Markup:
    """Return what was declared above what was found."""
    return _in_row(
        100,
        element("rect", y=0, width=_place(declared or 0, 0, largest), height=5, class_="pale"),
        element("rect", y=7, width=_place(found or 0, 0, largest), height=5, class_="fill"),
    )


def spread(figures: Mapping[str, float], low: float, high: float) -> Markup:
    """Return where values lie between `low` and `high`: all, 90 per cent of them, and their median."""
    at = {name: _place(figures[name], low, high) for name in ("min", "p05", "median", "p95", "max")}
    box = max(at["p95"] - at["p05"], 0.6)
    return _in_row(
        100,
        element("rect", x=at["min"], y=5.5, width=_round(max(at["max"] - at["min"], 0.6)), height=1, class_="line"),
        element("rect", x=at["p05"], y=2.5, width=_round(box), height=7, class_="pale"),
        element("rect", x=_round(at["median"] - 0.4), y=0.5, width=0.8, height=11, class_="fill"),
    )


def heat_map(patients: Sequence[str], distances: Mapping[str, Mapping[str, float]], told: str) -> Markup:
    """Return types by patients, a column for each of them, with an arrow where a count stands out.

    `distances` are those of types, by patient. `told` says in words what there is to be seen.
    """
    rows = []
    for row, (name, of_type) in enumerate(distances.items()):
        short = name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
        cells: list[Markup] = [element("text", short, x=LABEL - 8, y=CELL - 3, text_anchor="end", direction="ltr")]
        for column, patient in enumerate(patients):
            mark = mark_of(of_type[patient])
            x = LABEL + column * (CELL + GAP)
            cells.append(
                element(
                    "g",
                    element("title", f"{patient}, {name}: {NAMES[mark]}"),
                    element("rect", width=CELL, height=CELL, rx=2, class_=HEAT[mark]),
                    element("path", d=ARROWS[mark], class_="arrow") if mark else None,
                    transform=f"translate({x} 0)",
                )
            )
        rows.append(element("g", cells, transform=f"translate(0 {row * ROW})"))
    width, height = LABEL + len(patients) * (CELL + GAP), len(rows) * ROW
    drawn = element(
        "svg", element("title", told), rows,
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", class_="heat-map",
    )  # fmt: skip
    return element("div", drawn, class_="scroll", role="region", aria_label="Heat map", tabindex=0)


def _in_row(width: int, *shapes: Markup) -> Markup:
    return element(
        "svg", *shapes, viewBox=f"0 0 {width} 12", preserveAspectRatio="none", aria_hidden="true", class_="in-row"
    )


def _place(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, from 0 to 100."""
    span = high / 2 - low / 2  # the whole of it may be more than a double holds
    return _round((value / 2 - low / 2) / span * 100) if span else 0.0


def _round(number: float) -> float:
    return round(number, 2)
