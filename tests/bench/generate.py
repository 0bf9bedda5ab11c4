"""Make rows up, and tell how long that took: `python -m tests.bench.generate native|pure ROWS`."""

import sys
import time

from mockexport.sources import choose_generator
from mockexport.sources.mock.specs import plans

if __name__ == "__main__":
    new_generator, rows = choose_generator(sys.argv[1]), int(sys.argv[2])
    made = 0
    started = time.perf_counter()
    generator = new_generator(plans("large")[3])
    while made < rows:
        made += generator.read(1 << 18).count(b"\n")
    seconds = time.perf_counter() - started
    print(seconds * rows / made)
