"""The generator in plain Python: the reference for the native one, and the specification in code."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mockexport.sources.mock.specs import Plan

__all__ = ["HEADER", "Generator", "ReferenceGenerator"]

HEADER = b"patient_id,event_time,event_type,value\n"


class Generator(Protocol):
    """Makes the CSV of one download, front to back."""

    def __init__(self, plan: Plan, /) -> None: ...

    def read(self, size: int, /) -> bytes:
        """Return the next rows, whole ones, about `size` bytes of them; nothing at the end. The header comes first."""


class ReferenceGenerator:
    """Makes the CSV of one download; the contract is `Generator`."""

    def __init__(self, plan: Plan, /) -> None:
        self._rows = _rows(plan)
        self._head = HEADER

    def read(self, size: int, /) -> bytes:
        """Return the next rows."""
        parts = [self._head]
        length = len(self._head)
        self._head = b""
        while length < max(size, 1):  # nothing means the end
            row = next(self._rows, None)
            if row is None:
                break
            parts.append(row)
            length += len(row)
        return b"".join(parts)


def _rows(plan: Plan) -> Iterator[bytes]:
    draw = random.Random(plan.seed)
    start = plan.start.replace(tzinfo=None)
    for number in range(plan.rows):
        patient = draw.choice(plan.patients)
        time = start + number * plan.step + timedelta(seconds=draw.uniform(0, plan.step_seconds))
        kind = draw.choice(plan.event_types)
        value = max(kind.low, min(kind.high, int(draw.gauss(kind.mean, kind.deviation))))
        yield f"{patient},{time.isoformat()}Z,{kind.name},{value}\n".encode()
