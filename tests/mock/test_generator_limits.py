"""What the native generator refuses: plans beyond its limits, of other types, and sizes beyond memory."""

from __future__ import annotations

import math
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from tests.mock.test_generators import DAY, LAST, MICROSECOND, PLAN, PULSE, read_all

from mockexport.sources.mock import ReferenceGenerator

LIMITS = {
    "no patients": ({"patients": ()}, "patients must be 1 to 4096"),
    "too many patients": ({"patients": ("p",) * 4097}, "patients must be 1 to 4096"),
    "no event types": ({"event_types": ()}, "event_types must be 1 to 4096"),
    "too many event types": ({"event_types": (PULSE,) * 4097}, "event_types must be 1 to 4096"),
    "a patient's name of 32 bytes": ({"patients": ("p" * 32,)}, "the name 'p+' is too long"),
    "a patient's name of 33 bytes, fewer characters": ({"patients": ("é" * 16 + "p",)}, "is too long"),
    "a patient's name of a mebibyte": ({"patients": ("p" * (1 << 20),)}, "is too long"),
    "a type's name of 30 bytes": ({"event_types": (replace(PULSE, name="t" * 30),)}, "the name 't+' is too long"),
    "a lone surrogate": ({"patients": ("\ud800",)}, "surrogates not allowed"),
    "fewer than no rows": ({"rows": -1}, "must not be negative"),
    "a start before 1970": ({"start": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)}, "since 1970"),
    "a negative step": ({"step": -MICROSECOND}, "must not be negative"),
    "a step of more than a day": ({"step": DAY + MICROSECOND}, "up to a day"),
    "an end in the year 10000": ({"start": LAST, "rows": 1, "step": MICROSECOND}, "before the year 10000"),
    "an end far behind the year 10000": ({"rows": 2**62, "step": DAY}, "before the year 10000"),
    "a value below 0": ({"event_types": (replace(PULSE, low=-1),)}, "values from 0 to 999"),
    "a value above 999": ({"event_types": (replace(PULSE, high=1000),)}, "values from 0 to 999"),
    "a low above the high": ({"event_types": (replace(PULSE, low=201),)}, "values from 0 to 999"),
    "a mean of more than a million": ({"event_types": (replace(PULSE, mean=1_000_001),)}, "a mean must be at most"),
    "a mean of less than a million below 0": ({"event_types": (replace(PULSE, mean=-1_000_001),)}, "a mean must be"),
    "a deviation of more than a thousand": ({"event_types": (replace(PULSE, deviation=1001),)}, "a deviation at most"),
    "a mean that is no number": ({"event_types": (replace(PULSE, mean=math.nan),)}, "a mean must be at most"),  # type: ignore[arg-type]
    "a deviation without end": ({"event_types": (replace(PULSE, deviation=math.inf),)}, "a deviation at most"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("changes", "message"), LIMITS.values(), ids=LIMITS.keys())
def test_a_plan_beyond_the_limits_is_refused(native_generator: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native_generator(replace(PLAN, **changes))


def test_names_of_29_bytes_and_times_up_to_the_last_are_within_the_limits(native_generator: Any) -> None:
    plan = replace(
        PLAN, rows=1, start=LAST - DAY, step=DAY, patients=("p" * 31,), event_types=(replace(PULSE, name="t" * 29),)
    )
    assert read_all(native_generator(plan)) == read_all(ReferenceGenerator(plan))


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": "3"},
        {"rows": 2**70},
        {"rows": 1.5},
        {"patients": None},
        {"patients": {"p"}},
        {"patients": (1,)},
        {"patients": (b"p",)},
        {"patients": (None,)},
        {"event_types": 5},
        {"event_types": ("pulse",)},
        {"event_types": (replace(PULSE, name=b"t"),)},  # type: ignore[arg-type]
        {"event_types": (replace(PULSE, mean="75"),)},  # type: ignore[arg-type]
        {"event_types": (replace(PULSE, deviation=None),)},  # type: ignore[arg-type]
        {"event_types": (replace(PULSE, low=0.5),)},  # type: ignore[arg-type]
        {"event_types": (replace(PULSE, high=2**80),)},
        {"seed": []},
        {"start": None},
        {"step": 7},
    ],
    ids=repr,
)
def test_a_plan_of_other_types_is_refused(native_generator: Any, changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, OverflowError, AttributeError)):
        native_generator(replace(PLAN, **changes))


PLAN_ATTRIBUTES = (
    "rows", "start_microseconds", "step_microseconds", "step_seconds", "patients", "event_types", "seed",
)  # fmt: skip


@pytest.mark.parametrize("missing", PLAN_ATTRIBUTES)
def test_a_plan_without_one_of_its_attributes_is_refused(native_generator: Any, missing: str) -> None:
    attributes = {name: getattr(PLAN, name) for name in PLAN_ATTRIBUTES}
    assert read_all(native_generator(SimpleNamespace(**attributes))) == read_all(ReferenceGenerator(PLAN))
    del attributes[missing]
    with pytest.raises(AttributeError, match=missing):
        native_generator(SimpleNamespace(**attributes))


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e300, math.inf, math.nan, 7.1])
def test_a_plan_whose_steps_contradict_each_other_is_refused(native_generator: Any, seconds: float) -> None:
    attributes = {name: getattr(PLAN, name) for name in PLAN_ATTRIBUTES} | {"step_seconds": seconds}
    with pytest.raises(ValueError, match="must say the same"):
        native_generator(SimpleNamespace(**attributes))


def test_one_plan_is_wanted_and_nothing_else(native_generator: Any) -> None:
    for arguments in ((), (PLAN, PLAN), (None,), (object(),)):
        with pytest.raises((TypeError, AttributeError)):
            native_generator(*arguments)


def test_a_size_beyond_memory_is_refused_and_changes_nothing(native_generator: Any) -> None:
    generator = native_generator(PLAN)
    with pytest.raises(MemoryError):
        generator.read(sys.maxsize)
    with pytest.raises(OverflowError):
        generator.read(sys.maxsize + 1)
    assert read_all(generator) == read_all(ReferenceGenerator(PLAN))


def test_two_threads_in_one_generator_at_a_time_are_refused(native_generator: Any) -> None:
    plan = replace(PLAN, rows=2_000_000)
    generator = native_generator(plan)
    refusals: list[str] = []
    read: list[int] = []

    def work() -> None:
        for _ in range(100):
            if refusals:
                break
            try:
                chunk = generator.read(1 << 22)
            except RuntimeError as error:
                refusals.append(str(error))
            else:
                read.append(chunk.count(b"\n"))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(refusals) == {"this generator is in use by another thread"}
    assert sum(read) + read_all(generator).count(b"\n") == plan.rows + 1
