"""The generator in plain Python: the reference for the native one, and the specification in code."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mockexport.sources.mock.specs import EventType, Plan

__all__ = ["HEADER", "Generator", "ReferenceGenerator", "Template"]

HEADER = b"patient_id,event_time,event_type,value\n"

Template = tuple[bytes, bytes, bytes, bytes, bytes]
"""What stands before, between and behind a row's number, patient, time (without its `Z`) and value, in this order."""


class Generator(Protocol):
    """Makes the rows of one download, front to back.

    They are CSV; or, with a template for each event type of the plan, each is written by the template of its type.
    Raises ValueError for another number of templates.
    """

    def __init__(self, plan: Plan, templates: Sequence[Template] | None = None, /) -> None: ...

    def read(self, size: int, /) -> bytes:
        """Return the next rows, whole ones, about `size` bytes of them; nothing at the end.

        The header of CSV comes first.
        """


class ReferenceGenerator:
    """Makes the rows of one download; the contract is `Generator`."""

    def __init__(self, plan: Plan, templates: Sequence[Template] | None = None, /) -> None:
        if templates is None:
            self._rows = _csv(plan)
        else:
            self._rows = _by_template(plan, dict(zip(plan.event_types, templates, strict=True)))

    def read(self, size: int, /) -> bytes:
        """Return the next rows."""
        parts: list[bytes] = []
        length = 0
        while length < max(size, 1):  # nothing means the end
            row = next(self._rows, None)
            if row is None:
                break
            parts.append(row)
            length += len(row)
        return b"".join(parts)


def _csv(plan: Plan) -> Iterator[bytes]:
    yield HEADER
    for patient, time, kind, value in _draw(plan):
        yield f"{patient},{time}Z,{kind.name},{value}\n".encode()


def _by_template(plan: Plan, templates: Mapping[EventType, Template]) -> Iterator[bytes]:
    for number, (patient, time, kind, value) in enumerate(_draw(plan)):
        first, second, third, fourth, last = templates[kind]
        yield b"%b%d%b%b%b%b%b%d%b" % (
            first, number, second, patient.encode(), third, time.encode(), fourth, value, last,
        )  # fmt: skip


def _draw(plan: Plan) -> Iterator[tuple[str, str, EventType, int]]:
    """Yield the patient, the time, the event type and the value of each row."""
    draw = random.Random(plan.seed)
    start = plan.start.replace(tzinfo=None)
    for number in range(plan.rows):
        patient = draw.choice(plan.patients)
        time = start + number * plan.step + timedelta(seconds=draw.uniform(0, plan.step_seconds))
        kind = draw.choice(plan.event_types)
        value = max(kind.low, min(kind.high, int(draw.gauss(kind.mean, kind.deviation))))
        yield patient, time.isoformat(), kind, value
