"""Run the whole matrix of faults, and write what came of it into docs/reliability.md.

uv run python -m tests.faults.report
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.changing import BEHAVIOURS, changing_runs
from tests.faults.runs import AT_ONCE, ENDINGS, MANY_SEEDS, SPECS, WrongError, bodies, runs, truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.runs import Ends

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
COLUMNS = ("fault", "runs", *ENDINGS, "wrong")


def main() -> int:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # loopback is not reached through the proxy of the machine
    logging.disable()  # servers and event loops have much to say of connections that break
    bodies(), truth()  # made once, before the threads
    ended = {fault: _run(fault, runs(fault, MANY_SEEDS)) for fault in SPECS}
    ended |= {about: _run(about, changing_runs(about)) for about in BEHAVIOURS}
    ended["**all**"] = sum(ended.values(), Counter())
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{_table(ended)}{END}{after}", encoding="utf-8")
    return 1 if ended["**all**"]["wrong"] else 0


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


def _table(ended: dict[str, Counter[str]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|"]
    for fault, endings in ended.items():
        numbers = (endings.total(), *(endings[ending] for ending in ENDINGS), endings["wrong"])
        lines.append(f"| {fault} | {' | '.join(str(number) for number in numbers)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
