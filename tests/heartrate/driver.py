"""A process of its own that uses the service, told what to do line by line: `python -m tests.heartrate.driver FOLDER`.

Each line of stdin is JSON, `[what, ...]`; each is answered by one of stdout, `{"ok": ...}` or `{"error": ...}`.
With `load WRITERS FIRST` instead it posts batches until it is killed, and prints `writer number` for each one kept.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from tests.heartrate.synthetic import MIDNIGHT, MINUTE

from mockexport.errors import MockExportError
from mockexport.heartrate.readings import Readings
from mockexport.heartrate.service import HeartRate

ROWS = 20
"""Readings a batch of the load has."""


def load_batch(writer: int, number: int) -> Readings:
    """Return the batch that a writer sends as its `number`th; no other batch has a reading of it."""
    times = [MIDNIGHT + (number * ROWS + row) * MINUTE // 4 for row in range(ROWS)]
    return Readings(
        [f"user_{writer}"] * ROWS, ["device_a", "device_b"] * (ROWS // 2), times, [30.0 + number % 190] * ROWS
    )


def _post_for_ever(service: HeartRate, writer: int, number: int) -> None:
    while True:
        service.accept(load_batch(writer, number)).result(60)
        os.write(1, f"{writer} {number}\n".encode())  # one write is one line, whatever other threads do
        number += 1


def _load(folder: Path, writers: int, first: list[int]) -> None:
    with HeartRate(folder, flush_seconds=0.05, flush_readings=500) as service:
        for writer in range(writers):
            threading.Thread(target=_post_for_ever, args=(service, writer, first[writer]), daemon=True).start()
        while True:
            service.compact(fully=False)
            service.tidy()


def _answer(service: HeartRate, what: str, *arguments: Any) -> Any:
    if what == "post":
        service.accept(Readings(*arguments)).result(60)
    elif what == "flush":
        service.flush()
    elif what == "compact":
        service.compact()
    elif what == "query":
        return service.query(*arguments)
    elif what == "problem":
        return service.problem()
    elif what == "rows":
        return [[str(day.date), day.rows] for day in service.days()]
    elif what == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments[0] or resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return None


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.argv[2:]:
        _load(folder, int(sys.argv[2]), json.loads(sys.argv[3]))
    with HeartRate(folder, flush_seconds=3600) as service:
        print(json.dumps({"ok": "ready"}), flush=True)
        for line in sys.stdin:
            try:
                answer: dict[str, Any] = {"ok": _answer(service, *json.loads(line))}
            except MockExportError as error:
                answer = {"error": str(error), "kind": type(error).__name__}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
