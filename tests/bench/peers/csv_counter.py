"""Count with csv.reader and a Counter, the fastest that the standard library has: `python csv_counter.py FILE …`."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable
from operator import itemgetter


def count_lines(counts: Counter[tuple[str, ...]], lines: Iterable[str]) -> None:
    rows = csv.reader(lines)
    next(rows)
    counts.update(map(itemgetter(0, 2), rows))


def count_bytes(data: bytes) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    count_lines(counts, io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))
    return counts


def main() -> None:
    counts: Counter[tuple[str, ...]] = Counter()
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8", newline="") as file:  # noqa: PTH123 - pathlib would add to its start-up
            count_lines(counts, file)
    for (patient, kind), records in counts.items():
        print(patient, kind, records, sep=",")
    print("", "", counts.total(), sep=",")


if __name__ == "__main__":
    main()
