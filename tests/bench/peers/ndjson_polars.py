"""Count FHIR resources with Polars' streaming engine, on all cores: `python ndjson_polars.py FILE …`.

The schema is given: nothing is inferred, and nothing else is kept.
"""

import sys

import polars as pl

SCHEMA = pl.Schema([("resourceType", pl.String()), ("subject", pl.Struct({"reference": pl.String}))])


def main() -> None:
    rows = pl.scan_ndjson(sys.argv[1:], schema=SCHEMA).select(
        pl.col("subject").struct.field("reference").str.strip_prefix("Patient/"), "resourceType"
    )
    counts = rows.group_by("reference", "resourceType").len().collect(engine="streaming").rows()
    for patient, kind, records in counts:
        print(patient, kind, records, sep=",")
    print("", "", sum(row[2] for row in counts), sep=",")


if __name__ == "__main__":
    main()
