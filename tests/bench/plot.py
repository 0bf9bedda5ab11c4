"""The plot: horizontal bars of million rows a second, a panel a contest; an SVG for light and dark."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.contest import Figures, Result

__all__ = ["PLOTTED", "svg"]

PLOTTED = ("tally", "folder-large", "folder-many", "http-small", "http-static")

WIDTH, LABELS, VALUES = 860, 250, 120
BAR, GAP, HEAD, AXIS, BETWEEN = 18, 7, 34, 26, 26
BARS = WIDTH - LABELS - VALUES

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f; }
  .background { fill: #ffffff; } .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 11px; fill: #57606a; } .grid { stroke: #d8dee4; stroke-width: 1; }
  .ours { fill: #0f766e; } .peer { fill: #94a3b8; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .background { fill: #0d1117; } .small { fill: #8d96a0; }
    .grid { stroke: #30363d; } .ours { fill: #2dd4bf; } .peer { fill: #64748b; }
  }
"""


def svg(results: Sequence[Result]) -> str:
    """Draw who counts, in the contests with peers; each panel has an axis of its own, from zero."""
    body: list[str] = []
    top = 16.0
    for result in results:
        if result.contest.name in PLOTTED:
            counting = {contestant.name for contestant in result.contest.contestants if contestant.answers}
            shown = [figures for figures in result.figures if figures.speed and figures.name in counting]
            body += _panel(result.contest.title, shown, top)
            top += HEAD + len(shown) * (BAR + GAP) + AXIS + BETWEEN
    height = top - BETWEEN + 8
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Million rows a second, of mockexport and of what else could be used</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="background" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panel(title: str, shown: Sequence[Figures], top: float) -> Iterator[str]:
    speeds = [(figures.speed or 0.0) / 1e6 for figures in shown]
    step = tick_step(max(speeds))
    end = step * math.ceil(max(speeds) / step)
    bottom = top + HEAD + len(shown) * (BAR + GAP)
    yield _text(16, top + 14, title, "title")
    for number in range(round(end / step) + 1):
        x = LABELS + BARS * number * step / end
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 8:.1f}" y2="{bottom:.1f}"/>'
        unit = " M rows/s" if number * step >= end else ""
        yield _text(x, bottom + 14, f"{number * step:g}{unit}", "small", "middle")
    for number, (figures, speed) in enumerate(zip(shown, speeds, strict=True)):
        y = top + HEAD + number * (BAR + GAP)
        width = max(1.0, BARS * speed / end)
        kind = "ours" if figures.name.startswith("mockexport") else "peer"
        yield _text(LABELS - 10, y + 14, figures.name, "", "end")
        yield f'<rect class="{kind}" x="{LABELS}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        yield _text(LABELS + width + 8, y + 14, f"{speed:.3g}")


def tick_step(largest: float) -> float:
    """A round step that gives two to five ticks."""
    magnitude: float = 10.0 ** math.floor(math.log10(largest))
    return next(step * magnitude for step in (0.2, 0.5, 1.0, 2.0, 5.0) if largest <= 5 * step * magnitude)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
