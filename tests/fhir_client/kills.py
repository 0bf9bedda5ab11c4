"""Commands on a FHIR server that are killed at random moments."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests import seeds
from tests.commands import run_command, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Serving

__all__ = ["MOMENTS", "Undisturbed", "kick_offs", "killed", "undisturbed_run"]

MOMENTS = [
    *[pytest.param("group/demo", seed, id=f"demo-{seed}") for seed in range(4)],
    *[pytest.param("group/demo", seed, id=f"demo-{seed}", marks=pytest.mark.slow) for seed in range(4, 50)],
    *[pytest.param("group/small", seed, id=f"small-{seed}", marks=pytest.mark.slow) for seed in range(50)],
]
"""Exports, and what chooses when to kill: the small one is killed in its files, the tiny one mostly before them."""
BEGUN = '%24export HTTP/1.1" 202'


class Undisturbed(NamedTuple):
    """A run that nobody kills: where it ran, what it printed, and how many seconds it took."""

    folder: Path
    stdout: str
    seconds: float


def undisturbed_run(folder: Path, *command: object) -> Undisturbed:
    began = time.monotonic()
    done = run_command(folder, *command)
    assert done.code == 0, done.stderr
    return Undisturbed(folder, done.stdout, time.monotonic() - began)


def killed(folder: Path, *command: object, within: float, seed: int) -> str:
    """Run a command, and kill -9 it at a random moment of so many seconds; return what it has printed."""
    with started(folder, *command) as process:
        try:
            return process.communicate(timeout=seeds.rng(seed).uniform(0, within))[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]


def kick_offs(server: Serving) -> int:
    """How many kick-offs a verbose server has accepted."""
    return sum(line.rstrip().endswith(BEGUN) for line in server.told)
