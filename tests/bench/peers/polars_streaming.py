"""Count with Polars' streaming engine, on all cores: `python polars_streaming.py FILE-OR-URL …`.

All columns are left as text: nothing is inferred, and of the values nothing is parsed.
"""

import sys
from collections.abc import Sequence

import polars as pl


def count(source: list[str] | bytes) -> Sequence[tuple[str, str, int]]:
    rows = pl.scan_csv(source, infer_schema=False)
    return rows.group_by("patient_id", "event_type").len().collect(engine="streaming").rows()


def count_bytes(data: bytes) -> dict[tuple[str, str], int]:
    return {(patient, kind): records for patient, kind, records in count(data)}


def main() -> None:
    counts = count(sys.argv[1:])
    for patient, kind, records in counts:
        print(patient, kind, records, sep=",")
    print("", "", sum(row[2] for row in counts), sep=",")


if __name__ == "__main__":
    main()
