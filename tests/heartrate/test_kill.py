"""kill -9 at any moment: what was acknowledged is there exactly once, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.heartrate.driver import load_batch
from tests.heartrate.synthetic import MIDNIGHT, MINUTE
from tests.seeds import rng

from mockexport.heartrate.service import HeartRate

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 4


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(2, id="two"),
        pytest.param(100, id="a hundred", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_every_acknowledged_reading_survives_kill_9_once_and_none_is_invented(tmp_path: Path, kills: int) -> None:
    folder, moments = tmp_path / "data", rng(kills)
    acknowledged = [0] * WRITERS
    for _ in range(kills):
        _load_and_kill(folder, acknowledged, after=moments.randrange(1, 400))
        with HeartRate(folder, flush_seconds=3600) as service:
            acknowledged = [_check(service, writer, count) for writer, count in enumerate(acknowledged)]
            assert sum(day.rows for day in service.days()) == sum(
                len(load_batch(writer, number)) for writer, count in enumerate(acknowledged) for number in range(count)
            )


def _load_and_kill(folder: Path, acknowledged: list[int], after: int) -> None:
    """Let a process post until it has been told of `after` batches, kill it, and count all that it was told of."""
    command = [sys.executable, "-m", "tests.heartrate.driver", str(folder), str(WRITERS), json.dumps(acknowledged)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout, start=1):
            writer, batch = map(int, line.split())
            acknowledged[writer] = batch + 1
            if number == after:
                process.kill()
        assert process.wait() == -9


def _check(service: HeartRate, writer: int, count: int) -> int:
    """See that a writer's batches are there as they were sent; return how many.

    The one whose answer was under way may be there or not, but whole.
    """
    points = service.query(f"user_{writer}", MIDNIGHT, MIDNIGHT + (count + 10) * 10 * MINUTE)
    found = len(points) // 5
    assert found in {count, count + 1}
    assert [(point.minute, point.heart_rate) for point in points] == [
        (MIDNIGHT + (number * 5 + minute) * MINUTE, 30.0 + number % 190)
        for number in range(found)
        for minute in range(5)
    ]
    return found
