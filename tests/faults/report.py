"""Run the whole matrix of faults, and write what came of it into docs/reliability.md; or its FHIR part alone.

uv run --group dev python -m tests.faults.report [fhir]
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.bulk import BULK_ENDINGS, BULK_SPECS, TWO_TOGETHER, bulk_bodies, bulk_runs, without_waits
from tests.faults.changing import BEHAVIOURS, changing_runs
from tests.faults.runs import AT_ONCE, ENDINGS, MANY_SEEDS, SPECS, WrongError, bodies, runs, truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.runs import Ends

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def main() -> int:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # loopback is not reached through the proxy of the machine
    logging.disable()  # servers and event loops have much to say of connections that break
    wrong = 0 if sys.argv[1:] == ["fhir"] else _report("faults", _csv(), ENDINGS)
    wrong += _report("fhir faults", _fhir(), BULK_ENDINGS)
    return 1 if wrong else 0


def _csv() -> dict[str, Counter[str]]:
    bodies(), truth()  # made once, before the threads
    ended = {fault: _run(fault, runs(fault, MANY_SEEDS)) for fault in SPECS}
    return ended | {about: _run(about, changing_runs(about)) for about in BEHAVIOURS}


def _fhir() -> dict[str, Counter[str]]:
    bulk_bodies()
    with without_waits():
        return {fault: _run(fault, bulk_runs(fault)) for fault in [*BULK_SPECS, TWO_TOGETHER]}


def _report(name: str, ended: dict[str, Counter[str]], endings: Sequence[str]) -> int:
    """Write a table into the document; return how many runs were wrong."""
    ended["**all**"] = sum(ended.values(), Counter())
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    DOCUMENT.write_text(f"{before}{begin}\n{_table(ended, endings)}{end}{after}", encoding="utf-8")
    return ended["**all**"]["wrong"]


def _run(about: str, wanted: Sequence[Ends]) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        ended = Counter(threads.map(_ending, wanted))
    print(about, dict(ended), flush=True)
    return ended


def _ending(run: Ends) -> str:
    try:
        return run.end()
    except WrongError as problem:
        print(problem, file=sys.stderr, flush=True)
        return "wrong"


def _table(ended: dict[str, Counter[str]], endings: Sequence[str]) -> str:
    columns = ("fault", "runs", *endings, "wrong")
    lines = [f"| {' | '.join(columns)} |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    for fault, found in ended.items():
        numbers = (found.total(), *(found[ending] for ending in endings), found["wrong"])
        lines.append(f"| {fault} | {' | '.join(str(number) for number in numbers)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
