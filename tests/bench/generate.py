"""Make rows up, and tell how long that took: `python -m tests.bench.generate native|pure csv|fhir ROWS`."""

import sys
import time

from mockexport.sources import choose_generator
from mockexport.sources.mock.fhir import observation_templates
from mockexport.sources.mock.specs import plans

if __name__ == "__main__":
    kernel, written, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    plan = plans("large")[3]
    assert rows <= plan.rows
    templates = observation_templates(plan) if written == "fhir" else None
    made = 0
    started = time.perf_counter()
    generator = choose_generator(kernel)(plan, templates)
    while made < rows:
        made += generator.read(1 << 18).count(b"\n")
    seconds = time.perf_counter() - started
    print(seconds * rows / made)
