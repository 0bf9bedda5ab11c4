"""The layout of the made-up exports, against an independent implementation of it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mockexport.sources.mock.specs import EVENT_TYPES, EXPORTS, plans

GOLDEN_DOWNLOADS = [("demo", "0"), ("demo", "1"), ("small", "0"), ("small", "4"), ("large", "3")]


@pytest.mark.parametrize(("export", "number"), GOLDEN_DOWNLOADS)
def test_a_download_is_laid_out_as_an_independent_implementation_has_it(golden: Any, export: str, number: str) -> None:
    expected = golden[export]["downloads"][number]
    plan = plans(export)[int(number)]
    assert plan.id == expected["id"]
    assert plan.rows == expected["rows"]
    assert list(plan.patients) == expected["patients"]
    assert [event_type.name for event_type in plan.event_types] == expected["event_types"]
    assert plan.start.replace(tzinfo=None).isoformat() == expected["start_time"]
    assert plan.end.replace(tzinfo=None).isoformat() == expected["end_time"]


def test_every_golden_download_is_checked(golden: Any) -> None:
    assert [(export, number) for export in golden for number in golden[export]["downloads"]] == GOLDEN_DOWNLOADS


@pytest.mark.parametrize("export", ["demo", "small", "large"])
def test_an_export_has_as_many_rows_as_an_independent_implementation_says(golden: Any, export: str) -> None:
    assert sum(plan.rows for plan in plans(export)) == golden[export]["rows"]


@pytest.mark.parametrize(("export", "downloads"), [("demo", 2), ("small", 10), ("large", 20)])
def test_downloads_follow_one_another_without_a_gap(export: str, downloads: int) -> None:
    layout = plans(export)
    assert len(layout) == downloads
    assert layout[0].start == datetime(2025, 8, 26, tzinfo=UTC)
    assert [plan.start for plan in layout[1:]] == [plan.end for plan in layout[:-1]]


@pytest.mark.parametrize("export", ["demo", "small", "large"])
def test_downloads_are_within_their_specification(export: str) -> None:
    spec = EXPORTS[export]
    for plan in plans(export):
        assert spec.min_rows <= plan.rows <= spec.max_rows
        assert len(set(plan.patients)) == len(plan.patients) >= 2
        assert set(plan.patients) <= set(spec.pool)
        assert (plan.step, plan.event_types) == (spec.step, spec.event_types)
        assert uuid.UUID(plan.id).version == 4
        assert uuid.UUID(plan.id).bytes == plan.seed
    assert len({plan.id for plan in plans(export)}) == spec.downloads


def test_the_exports_are_those_of_the_documentation() -> None:
    rows = {name: (spec.downloads, spec.min_rows, spec.max_rows, spec.step) for name, spec in EXPORTS.items()}
    assert rows == {
        "demo": (2, 5_000, 10_000, timedelta(seconds=7)),
        "small": (10, 500_000, 1_000_000, timedelta(seconds=3)),
        "large": (20, 5_000_000, 10_000_000, timedelta(milliseconds=300)),
    }
    assert EXPORTS["demo"].pool == ("P001", "P002", "P003", "P004")
    assert EXPORTS["small"].pool == tuple(f"S00{n}" for n in range(1, 7))
    assert EXPORTS["large"].pool == tuple(f"L{n:03}" for n in range(1, 21))


def test_the_event_types_are_those_of_the_documentation() -> None:
    assert {name: (kind.mean, kind.deviation, kind.low, kind.high) for name, kind in EVENT_TYPES.items()} == {
        "heart_rate": (75, 15, 30, 200),
        "spo2": (97, 2, 70, 100),
        "bp_sys": (120, 20, 60, 250),
        "bp_dia": (80, 15, 30, 150),
    }
    assert all(name == kind.name for name, kind in EVENT_TYPES.items())


def test_an_unknown_export_has_no_plans() -> None:
    with pytest.raises(KeyError):
        plans("medium")
