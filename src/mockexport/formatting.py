"""Numbers, spans of time and times as people read them, in tables and reports."""

from __future__ import annotations

__all__ = ["numbered", "share_text", "short_time", "span_text", "value_text"]

SMALL, LARGE = 0.01, 1e7  # what is beyond is written with an exponent
UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))
SMALLEST_SHARE = 0.001


def numbered(number: int, noun: str) -> str:
    """Return a number of things, such as `1 download`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def value_text(value: float, *, digits: int | None = None) -> str:
    """Return a value in few characters: with so many digits behind the point, or with up to two."""
    if value and not SMALL <= abs(value) < LARGE:
        return f"{value:.3g}"
    return f"{value:,.2f}".rstrip("0").rstrip(".") if digits is None else f"{value:,.{digits}f}"


def span_text(seconds: float) -> str:
    """Return how long something is, in the unit that suits it."""
    size, name = next((unit for unit in UNITS if seconds >= unit[0]), UNITS[-1])
    return f"{seconds / size:.1f} {name}" if seconds else "0 s"


def share_text(part: float, whole: float) -> str:
    """Return a part of a whole in per cent."""
    if not part:
        return "0%"
    share = part / whole
    return "<0.1%" if 0 < share < SMALLEST_SHARE else f"{share:.1%}"


def short_time(time: str) -> str:
    """Return an ISO 8601 time in UTC without its fraction of a second and its `Z`."""
    return time.removesuffix("Z").partition(".")[0].replace("T", " ")
