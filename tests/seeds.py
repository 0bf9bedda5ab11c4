"""The random choices of the tests: the same in every default run, fresh in each `-m slow` run.

The head of a slow run prints its seed; `--hypothesis-seed` with that number makes the same choices again.
"""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings

__all__ = ["examples", "rng", "run_seed", "seed_of", "told", "use_fixed", "use_fresh", "wants_slow"]

run_seed: str | None = None
"""The seed of a slow run; None in the default run."""

# A busy machine is no reason to fail: no deadlines.
settings.register_profile("default", derandomize=True, deadline=None, max_examples=50)
settings.register_profile(
    "slow", deadline=None, print_blob=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def wants_slow(expression: str) -> bool:
    """Tell whether the expression of `-m` selects slow tests."""
    return "slow" in expression.replace("not slow", "")


def use_fixed() -> None:
    """Make the choices of the default run."""
    settings.load_profile("default")


def use_fresh(seed: str) -> None:
    """Make other choices, those of this seed."""
    global run_seed  # noqa: PLW0603 - known once the options are read, before any test module is loaded
    run_seed = seed
    settings.load_profile("slow")


def told() -> str | None:
    """What a slow run prints of its seed."""
    return None if run_seed is None else f"seed: --hypothesis-seed={run_seed} replays this run"


def seed_of(name: object) -> str:
    """The seed of one test, or of one of its runs: the name alone in the default run."""
    return f"{run_seed}/{name}" if run_seed else f"{name}"


def rng(name: object) -> random.Random:
    """The random choices of one test, or of one of its runs."""
    return random.Random(seed_of(name))


def examples(default: int, slow: int) -> settings:
    """How many examples hypothesis tries in the default run and in a slow one."""
    return settings(max_examples=default if run_seed is None else slow)
