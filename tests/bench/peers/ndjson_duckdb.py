"""Count FHIR resources with DuckDB, on all cores: `python ndjson_duckdb.py FILE …`.

The two columns are named: nothing is sniffed, and nothing else is kept.
"""

import sys

import duckdb

QUERY = """
SELECT substr(subject.reference, 9), resourceType, count(*)
FROM read_json(?, format = 'newline_delimited', columns = {
    'resourceType': 'VARCHAR', 'subject': 'STRUCT(reference VARCHAR)'})
GROUP BY ALL
"""


def main() -> None:
    counts = duckdb.execute(QUERY, [sys.argv[1:]]).fetchall()
    for patient, kind, records in counts:
        print(patient, kind, records, sep=",")
    print("", "", sum(row[2] for row in counts), sep=",")


if __name__ == "__main__":
    main()
