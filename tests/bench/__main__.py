"""Measure mockexport beside what a user would pick instead: `uv run --group bench python -m tests.bench`.

All of it writes docs/performance.md (between its markers) and docs/performance.svg; `--quick` and `--only` print the
tables and write nothing, unless `--write` says so. A peer that counts otherwise than we do fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contest import DifferentAnswerError, hold, progress
from tests.bench.contestants import warm_up
from tests.bench.data import Setup
from tests.bench.launch import ROOT
from tests.bench.plot import PLOTTED, svg
from tests.bench.report import markdown, replace_generated
from tests.bench.work import fhir, folder, growth, http, mock, startup, stats, store, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tests.bench.contest import Contest, Result

SECTIONS: dict[str, Callable[[Setup], Generator[Contest, None, None]]] = {
    "tally": tally.contests,
    "folder": folder.contests,
    "fhir": fhir.contests,
    "stats": stats.contests,
    "http": http.contests,
    "store": store.contests,
    "mock": mock.contests,
    "start-up": startup.contests,
    "growth": growth.contests,
}
DOCUMENT, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
FEW_ROUNDS = ("http-large", "rows", "patients", "bytes", "downloads", "cores")


def main() -> int:
    """Run all, or what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files and two rounds: a check, in about a minute")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one part, or several")
    parser.add_argument("--write", action="store_true", help="write the document and the plot all the same")
    arguments = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mockexport-bench-"))
    try:
        warm_up()
        results = run(Setup(folder, arguments.quick), arguments.only or list(SECTIONS))
    except DifferentAnswerError as problem:
        print(f"a wrong answer: {problem}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    print(f"\n{time.monotonic() - started:.0f} s in all", file=sys.stderr)
    text = markdown(results)
    if arguments.write or not (arguments.quick or arguments.only):
        DOCUMENT.write_text(replace_generated(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
        if any(result.contest.name in PLOTTED for result in results):
            PLOT.write_text(svg(results), encoding="utf-8")
    else:
        print(text)
    return 0


def run(setup: Setup, sections: Sequence[str]) -> list[Result]:
    """Hold the contests of these sections, one after the other."""
    results = []
    for name in sections:
        with contextlib.closing(SECTIONS[name](setup)) as contests:
            for contest in contests:
                rounds = setup.few if contest.name.startswith(FEW_ROUNDS) else setup.rounds
                results.append(hold(contest, rounds))
                progress(results[-1])
    return results


if __name__ == "__main__":
    sys.exit(main())
