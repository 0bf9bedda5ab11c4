"""Count with csv.DictReader, as most first scripts do: `python csv_dictreader.py FILE …`."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable


def count_lines(counts: Counter[tuple[str, str]], lines: Iterable[str]) -> None:
    for row in csv.DictReader(lines):
        counts[row["patient_id"], row["event_type"]] += 1


def count_bytes(data: bytes) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    count_lines(counts, io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline=""))
    return counts


def main() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8", newline="") as file:  # noqa: PTH123 - pathlib would add to its start-up
            count_lines(counts, file)
    for (patient, kind), records in counts.items():
        print(patient, kind, records, sep=",")
    print("", "", counts.total(), sep=",")


if __name__ == "__main__":
    main()
