"""Count over HTTP with httpx, csv.reader and a Counter: `python httpx_csv.py URL …`."""

import csv
import sys
from collections import Counter
from operator import itemgetter

import httpx


def main() -> None:
    counts: Counter[tuple[str, ...]] = Counter()
    with httpx.Client() as client:
        for url in sys.argv[1:]:
            with client.stream("GET", url) as response:
                response.raise_for_status()
                rows = csv.reader(response.iter_lines())
                next(rows)
                counts.update(map(itemgetter(0, 2), rows))
    for (patient, kind), records in counts.items():
        print(patient, kind, records, sep=",")
    print("", "", counts.total(), sep=",")


if __name__ == "__main__":
    main()
