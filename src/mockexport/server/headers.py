"""Parses request headers: Range, Accept-Encoding, If-Match and If-None-Match (RFC 9110). Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.identity import WEAK, is_strong

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Range", "choose_encoding", "names_tag", "read_range"]

BYTES = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
QUALITY = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)
ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Range:
    """A requested range: from byte `first` to byte `last`, inclusive; without `first`, the last `last` bytes."""

    first: int | None
    last: int | None

    def within(self, length: int) -> tuple[int, int] | None:
        """Return start and stop (exclusive) within `length` bytes, or None if the range lies outside them."""
        if self.first is None:
            start, stop = max(0, length - (self.last or 0)), length
        else:
            start, stop = self.first, length if self.last is None else min(self.last + 1, length)
        return (start, stop) if start < stop else None


def read_range(header: str) -> Range | None:
    """Parse a Range header; None for one to ignore: several ranges, another unit, or bad syntax (section 14.2)."""
    match = BYTES.fullmatch(header)
    if match is None:
        return None
    first, last = (int(digits) if digits else None for digits in match.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and first > last:
        return None
    return Range(first, last)


def choose_encoding(accept: str, offered: Sequence[str]) -> str | None:
    """Choose a content coding by an Accept-Encoding header (section 12.5.3); None is `identity`.

    It is the coding with the highest weight, and the first offered of several. `identity` is chosen unless the client
    gives a coding a higher weight, and also if it accepts nothing that is offered.
    """
    weights: dict[str, float] = {}
    for item in accept.split(","):
        coding, _, parameter = item.partition(";")
        weights[coding.strip().lower()] = _quality(parameter)
    others = weights.get("*", 0.0)
    best, best_weight = None, weights.get("identity", others)
    for encoding in offered:
        if weights.get(encoding, others) > best_weight:
            best, best_weight = encoding, weights.get(encoding, others)
    return best


def _quality(parameter: str) -> float:
    if not parameter.strip():
        return 1.0
    match = QUALITY.fullmatch(parameter)
    return float(match[1]) if match else 0.0


def names_tag(header: str, tag: str | None, *, strong: bool = False) -> bool:
    """Return whether a header has this entity tag, or is `*`, which every representation matches.

    Tags of If-None-Match are compared weakly (section 13.1.2), those of If-Match `strong` (13.1.1).
    """
    if header.strip() == "*":
        return True
    if tag is None:
        return False
    named = ENTITY_TAG.findall(header)
    if strong:
        return is_strong(tag) and tag in named
    return tag.removeprefix(WEAK) in {other.removeprefix(WEAK) for other in named}
