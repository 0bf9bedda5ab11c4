"""Colours: they can be read on a light terminal and on a dark one, and are named in one place."""

from __future__ import annotations

import re

import pytest
from rich.color import ColorSystem
from rich.style import Style
from tests.import_graph import PACKAGE

from mockexport.cli import styles

STYLES = sorted({*(getattr(styles, name) for name in styles.__all__ if name != "DEVICES"), *styles.DEVICES})
NAMED = re.compile(
    r"[\"'](?:bold |dim |italic )*(?:black|red|green|yellow|blue|magenta|cyan|white|bright_\w+|dim)[\"']"
)
BACKGROUNDS = {"black": (0, 0, 0), "dark grey": (30, 30, 30), "white": (255, 255, 255)}
ENOUGH = 3.5  # of contrast; 4.1 is the most that a colour can have to dark grey and to white alike


def brightness(red: int, green: int, blue: int) -> float:
    """The relative luminance of WCAG 2."""

    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("style", STYLES)
def test_a_colour_can_be_read_on_light_and_on_dark(style: str, background: str) -> None:
    parsed = Style.parse(style)
    assert not parsed.dim
    if parsed.color is not None:
        dark, light = sorted([brightness(*parsed.color.get_truecolor()), brightness(*BACKGROUNDS[background])])
        assert (light + 0.05) / (dark + 0.05) >= ENOUGH


@pytest.mark.parametrize("name", ["GOOD", "NOTICE", "BAD", "SPEED", "HIGH", "VERY_HIGH", "LOW", "VERY_LOW"])
def test_with_16_colours_there_is_no_yellow_cyan_or_white(name: str) -> None:
    colour = Style.parse(getattr(styles, name)).color
    assert colour is not None
    assert colour.downgrade(ColorSystem.STANDARD).number not in {3, 6, 7, 11, 14, 15}


def test_no_other_file_names_a_colour() -> None:
    for file in (PACKAGE / "cli").glob("*.py"):
        assert not NAMED.findall(file.read_text(encoding="utf-8")), file
