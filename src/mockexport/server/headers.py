"""What a request's headers ask for: a range, an encoding, a condition (RFC 9110). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mockexport.identity import WEAK

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Range", "choose_encoding", "names_tag", "read_range"]

BYTES = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
QUALITY = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)
ENTITY_TAG = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Range:
    """A range of bytes as asked for: from `first` to `last`, both included; without `first`, the last `last` bytes."""

    first: int | None
    last: int | None

    def within(self, length: int) -> tuple[int, int] | None:
        """Return start and stop within so many bytes, or None when the range lies outside."""
        if self.first is None:
            start, stop = max(0, length - (self.last or 0)), length
        else:
            start, stop = self.first, length if self.last is None else min(self.last + 1, length)
        return (start, stop) if start < stop else None


def read_range(header: str) -> Range | None:
    """Read a Range header; None for one to be ignored: several ranges, another unit, or bad syntax."""
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
    """Choose an encoding by an Accept-Encoding header: the first offered of the best; None is the bytes as they are.

    They stay as they are unless the client likes an encoding better, and also when it likes nothing that is there.
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


def names_tag(if_none_match: str, tag: str | None) -> bool:
    """Tell whether an If-None-Match header names an entity tag, weak or not; `*` names any (RFC 9110, 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    return tag is not None and tag.removeprefix(WEAK) in ENTITY_TAG.findall(if_none_match)
