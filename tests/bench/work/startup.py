"""Start-up: what is waited for before any work is done."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.contest import Contest, Contestant
from tests.bench.contestants import PYTHON, needs, ours
from tests.bench.launch import launch

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.bench.data import Setup


def contests(setup: Setup) -> Generator[Contest, None, None]:  # noqa: ARG001 - as all sections
    yield Contest(
        "start-up",
        "Start-up",
        [
            replace(ours(*arguments.split(), name=f"mockexport {arguments}"), answers=False)
            for arguments in ("count demo", "--version", "--help")
        ]
        + [
            replace(ours("count", "demo", name="mockexport count demo, pure", MOCKEXPORT_KERNEL="pure"), answers=False),
            python("pass"),
            python("import polars", needs("polars")),
            python("import duckdb", needs("duckdb")),
        ],
        note="What Python itself takes, and what importing a peer takes, for comparison.",
    )


def python(code: str, absent: str = "") -> Contestant:
    return Contestant(f"python -c '{code}'", partial(launch, PYTHON, "-c", code), absent=absent, answers=False)
