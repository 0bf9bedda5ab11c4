"""Count with DuckDB, on all cores: `python duckdb_sql.py FILE …`.

The columns are told, all as text: nothing is sniffed.
"""

import sys

import duckdb

QUERY = """
SELECT patient_id, event_type, count(*)
FROM read_csv(?, header = true, auto_detect = false, columns = {
    'patient_id': 'VARCHAR', 'event_time': 'VARCHAR', 'event_type': 'VARCHAR', 'value': 'VARCHAR'})
GROUP BY ALL
"""


def main() -> None:
    counts = duckdb.execute(QUERY, [sys.argv[1:]]).fetchall()
    for patient, kind, records in counts:
        print(patient, kind, records, sep=",")
    print("", "", sum(row[2] for row in counts), sep=",")


if __name__ == "__main__":
    main()
