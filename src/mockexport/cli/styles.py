"""The colours of what is drawn: each can be read on a light terminal and on a dark one.

They are of the fixed 256, since a theme's yellow and cyan cannot be read on white. Terminals with only 16 colours get
the nearest ones: bright blue, magenta, red and green. No colour says anything that the text does not say too.
"""

from __future__ import annotations

__all__ = ["BAD", "DEVICES", "FAINT", "GOOD", "HEADING", "HIGH", "LOW", "NOTICE", "SPEED", "VERY_HIGH", "VERY_LOW"]

BLUE, MAGENTA, RED, GREEN, GREY = "color(63)", "color(164)", "color(196)", "color(28)", "color(243)"
BROWN, TEAL = "color(130)", "color(31)"

HEADING = "bold"
FAINT = GREY  # rules, and dots for what is absent
GOOD, NOTICE, BAD = GREEN, MAGENTA, f"bold {RED}"
SPEED = BLUE
HIGH, VERY_HIGH = MAGENTA, f"bold {RED}"
LOW, VERY_LOW = BLUE, f"bold {BLUE}"
DEVICES = (BLUE, MAGENTA, GREEN, RED, TEAL, BROWN)
