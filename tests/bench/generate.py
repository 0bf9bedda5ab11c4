"""Make rows up, and tell how long that took: `python -m tests.bench.generate native|pure ROWS`."""

import sys
import time

from mockexport.kernels import choose_kernels
from mockexport.sources.mock.specs import plans

if __name__ == "__main__":
    new_generator, rows = choose_kernels(sys.argv[1]).generator, int(sys.argv[2])
    made = 0
    started = time.perf_counter()
    generator = new_generator(plans("large")[3])
    while made < rows:
        made += generator.read(1 << 18).count(b"\n")
    seconds = time.perf_counter() - started
    print(seconds * rows / made)
