"""Draw docs/rooms.svg: the rooms of the package, layer by layer, and their imports. `python -m tests.draw_rooms`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from tests.import_graph import ROOT, read_graph
from tests.test_architecture import LAYERS, room_of

if TYPE_CHECKING:
    from tests.import_graph import Graph

PICTURE = ROOT / "docs" / "rooms.svg"

WIDTH, MARGIN, GAP = 960, 20, 28
HEAD, LINE, BETWEEN = 26, 16, 56  # heights: of a box's title, of each line in it, between two layers
LETTERS_A_LINE = 24
STYLE = """
  svg { background: #ffffff; color: #1f2328 }
  text { font: 12px ui-monospace, monospace; fill: currentColor }
  .room { font-weight: bold; font-size: 14px }
  .module { fill: #59636e }
  rect { fill: #f6f8fa; stroke: #8c959f }
  path { fill: none; stroke: #8c959f; stroke-width: 1.2 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; color: #e6edf3 }
    .module { fill: #9198a1 }
    rect { fill: #161b22; stroke: #6e7681 }
    path { stroke: #6e7681 }
  }
"""


TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 1 L7 4 L0 7"/></marker></defs>'
)


class Box(NamedTuple):
    """A room on the picture."""

    room: str
    lines: list[str]
    x: int
    y: int
    width: int
    height: int


def draw(graph: Graph) -> str:
    """Return the picture as SVG: a box a room, an arrow for the imports from one room to another above the base."""
    *rooms, base = [row.split() for row in LAYERS.strip().split("\n")]
    boxes: dict[str, Box] = {}
    y = MARGIN
    for row in [*rooms, ["base"]]:
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) // len(row)
        wide = width if len(row) > 1 or row == ["base"] else WIDTH // 3
        texts = {room: _lines(graph, room, base, wide) for room in row}
        height = HEAD + LINE * max(map(len, texts.values())) + 8
        x = MARGIN if len(row) > 1 or row == ["base"] else (WIDTH - wide) // 2
        for room in row:
            boxes[room] = Box(room, texts[room], x, y, wide, height)
            x += wide + GAP
        y += height + BETWEEN
    arrows = [_arrow(boxes[one], boxes[other]) for one, other in _edges(graph, boxes)]
    body = [*arrows, *(line for box in boxes.values() for line in _drawn(box))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - BETWEEN + MARGIN}" role="img">',
            "<title>The rooms of mockexport, layer by layer: each imports what stands below it</title>",
            f"<style>{STYLE}</style>",
            TIP,
            *body,
            "</svg>",
            "",
        ]
    )


def _edges(graph: Graph, boxes: dict[str, Box]) -> list[tuple[str, str]]:
    found = {(room_of(module), room_of(other)) for module in graph.modules for other in graph.own(module)}
    return sorted((one, other) for one, other in found if one != other and one in boxes and other in boxes)


def _lines(graph: Graph, room: str, base: list[str], width: int) -> list[str]:
    """Return the modules of a room, as lines that fit its box."""
    if room == "base":
        names = sorted(base)
    else:
        inside = [name.split(".")[2:] for name in graph.modules if room_of(name) == room and name.count(".") > 1]
        names = sorted({f"{parts[0]}/" if len(parts) > 1 else parts[0] for parts in inside})
        names = [name for name in names if f"{name}/" not in names]
    letters = max(LETTERS_A_LINE, (width - 20) * 10 // 73)
    lines = [""]
    for name in names:
        if lines[-1] and len(lines[-1]) + len(name) + 2 > letters:
            lines.append("")
        lines[-1] += f"  {name}" if lines[-1] else name
    return [line for line in lines if line]


def _drawn(box: Box) -> list[str]:
    title = {"base": "the base, which all use", "__init__": "mockexport", "__main__": "__main__"}.get(
        box.room, box.room
    )
    texts = [f'<text class="room" x="{box.x + 10}" y="{box.y + 18}">{escape(title)}</text>']
    texts += [
        f'<text class="module" x="{box.x + 10}" y="{box.y + HEAD + LINE * number + 10}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    ]
    return [f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>', *texts]


def _arrow(one: Box, other: Box) -> str:
    """Return a curve from the foot of a box to the head of another, at places that tell the arrows apart."""
    start, end = one.x + one.width // 2, other.x + other.width // 2
    lean = max(-other.width // 3, min(other.width // 3, (start - end) // 4))
    x1, y1, x2, y2 = start - lean // 2, one.y + one.height, end + lean, other.y
    middle = (y1 + y2) // 2
    return f'<path d="M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(read_graph()), encoding="utf-8")
