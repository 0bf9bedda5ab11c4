"""Count FHIR resources with orjson, a line at a time, on one core: `python ndjson_orjson.py FILE …`."""

import sys
from collections import Counter
from collections.abc import Iterable

import orjson


def count_lines(counts: Counter[tuple[str, str]], lines: Iterable[bytes]) -> None:
    for line in lines:
        resource = orjson.loads(line)
        counts[resource["subject"]["reference"].removeprefix("Patient/"), resource["resourceType"]] += 1


def count_bytes(data: bytes) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    count_lines(counts, data.splitlines())
    return counts


def main() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for name in sys.argv[1:]:
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib would add to its start-up
            count_lines(counts, file)
    for (patient, kind), records in counts.items():
        print(patient, kind, records, sep=",")
    print("", "", counts.total(), sep=",")


if __name__ == "__main__":
    main()
